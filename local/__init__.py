"""The stack on one machine: a supervisor, the servers it runs, the SIP line and the local models."""
