"""A part of the stack: how it is started, when it is ready, what it needs. Knows nothing of the supervisor."""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, Self

Say = Callable[[str], None]
State = Literal["waiting", "starting", "ready", "restarting", "stopped", "failed", "external"]


class PartFailed(Exception):
    """A part did not come up; the text names it and says what to do. Exit status 1."""


@dataclass(frozen=True, slots=True)
class Command:
    """What to run. `env` is the whole environment of the process."""

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One process of the stack.

    `prepare` makes what the process needs (a binary, a data folder) and gives its command; it runs before
    every start, is given a way to tell the user why that takes long, and may raise `PartFailed`. `ready`
    answers quickly and never raises. Times are seconds; `deadline_s` is how long one start may take,
    `patience_s` how long a stop may. `advice` is what to do when it does not come up.
    """

    name: str
    prepare: Callable[[Say], Awaitable[Command]]
    ready: Callable[[], Awaitable[bool]]
    port: int | None = None
    ports: tuple[int, ...] = ()
    needs: tuple[str, ...] = ()
    deadline_s: float = 30.0
    patience_s: float = 5.0
    stop_signal: signal.Signals = signal.SIGTERM
    # Sent by the kernel when the supervisor dies without a word.
    death_signal: signal.Signals = signal.SIGKILL
    advice: str = "see its log"

    def needing(self, names: Collection[str]) -> Self:
        """This part, waiting only for those of its needs that are among `names`: the others are served elsewhere."""
        return replace(self, needs=tuple(name for name in self.needs if name in names))


async def until_ready(part: Part, every_s: float = 0.05) -> None:
    """Returns when the part is ready; asks again every `every_s`. The caller sets the deadline."""
    while not await part.ready():  # noqa: ASYNC110 (the part is another process)
        await asyncio.sleep(every_s)
