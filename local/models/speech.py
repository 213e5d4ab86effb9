"""What the voices' engines share."""


class SpeechFailed(Exception):
    """A text could not be spoken; the text of the error says why."""
