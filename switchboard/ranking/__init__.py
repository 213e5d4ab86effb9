"""Which of a persona's facts answers what somebody said."""
