"""The phone on one machine: a SIP line into LiveKit rooms, and a caller to ring it."""
