"""What a command says when it cannot do what it was asked."""


class CommandFailed(Exception):
    """The input is wrong or something it needs is not there; the text says what and how to mend it. Status 2."""


class Unsuccessful(Exception):
    """What was asked was done, and did not succeed; the text says so. Status 1."""
