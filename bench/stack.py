"""The stack that is measured: one of its own, started by `switchboard up`, or one that already runs."""

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tests.e2e.stack import LocalStack, scripted_models, started

Models = Literal["scripted", "local", "mixed"]
MODELS: tuple[Models, ...] = ("scripted", "local", "mixed")


class BenchFailed(Exception):
    """A run could not be made; the text says why and what to do. Exit status 1."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A running stack; `scripted` is the URL of its scripted models, None when it has none."""

    stack: LocalStack
    scripted: str | None


@contextlib.contextmanager
def measured(models: Models, *, home: Path | None = None, scripted: str | None = None) -> Iterator[Measured]:
    """The stack in `home`, which runs already, or one of its own with these models, down again afterwards.

    `mixed` hears with the local model and thinks and speaks with the scripted ones.
    """
    if home is not None:
        yield Measured(_running(home), None if models == "local" else _needed(scripted))
        return
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="switchboard-bench-")))
        told: dict[str, str] = {}
        if models != "local":
            told = stack.enter_context(scripted_models(folder / "models.log"))
        url = told["LLM_BASE_URL"].removesuffix("/v1") if told else None
        if models == "mixed":
            told = {name: value for name, value in told.items() if name != "STT_BASE_URL"}
        try:
            found = stack.enter_context(started(folder / "home", **told))
        except AssertionError as failed:
            raise BenchFailed(f"the stack did not come up: {failed}") from None
        yield Measured(found, url)


def _running(home: Path) -> LocalStack:
    stack = LocalStack(home.absolute())
    try:
        if "sip" not in stack.urls:
            raise BenchFailed(f"the stack in {home} has no phone line: start it without --only.")
    except AssertionError:
        raise BenchFailed(f"nothing runs in {home}: start it with `switchboard up`, or leave --home out.") from None
    return stack


def _needed(scripted: str | None) -> str:
    if not scripted:
        raise BenchFailed("a running stack with scripted models needs --scripted URL, where they listen.")
    return scripted.rstrip("/").removesuffix("/v1")
