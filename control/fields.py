"""Kinds of text that requests may hold."""

from typing import Annotated

from pydantic import AfterValidator, Field

from switchboard import number


def _storable(value: str) -> str:
    if "\0" in value:
        raise ValueError("holds a NUL character")
    return value


def _number(value: str) -> str:
    if number.normalise(value) is None:
        raise ValueError("is no phone number: digits, with spaces, dashes, dots, brackets and one leading + at most")
    return value.strip()


Text = Annotated[str, AfterValidator(_storable)]
Slug = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$", description="Small letters, digits and dashes.")]
PhoneNumber = Annotated[str, Field(min_length=1, max_length=64), AfterValidator(_number)]
