"""Dialed numbers: what counts as one, and when two are the same."""

import re

MAX_LENGTH = 32
_SHAPE = re.compile(r"\+?[0-9][0-9 ()./-]*")
_FILLERS = re.compile(r"[ ()./-]")


def normalise(number: str) -> str | None:
    """`number` reduced to what two spellings of it share: its digits, without leading `+` or `00`.

    None when it is no number: longer than 32 characters, or with other characters than digits, spaces,
    dashes, dots, slashes, brackets and one leading `+`.
    """
    text = number.strip()
    if (
        len(text) > MAX_LENGTH
        or not text.isascii()
        or not _SHAPE.fullmatch(text.replace("(", "", 1) if text[:1] == "(" else text)
    ):
        return None
    digits = _FILLERS.sub("", text).removeprefix("+")
    return digits.removeprefix("00") or None
