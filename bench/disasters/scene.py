"""What a disaster is given and what it gives back: options, a stack to harm, rows of a table."""

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.door import Door
from bench.figures import Spread
from bench.stack import BenchFailed, Measured
from tests.e2e.stack import scripted_models, started


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: what was done, the figure that was seen, the one that is wanted."""

    what: str
    figure: str
    wanted: str
    met: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How much of a disaster is made. `running` is a stack with scripted models to use instead of one of its own,
    `door` the way of its webhooks, when there is one.

    `cases` takes what happened in each call, for the JSON beside the table.
    """

    calls: int | None = None
    at_once: int | None = None
    minutes: float | None = None
    quick: bool = False
    record: Path | None = None
    running: Measured | None = None
    door: Door | None = None
    cases: list[Mapping[str, Any]] = field(default_factory=list)

    def count(self, full: int, quick: int) -> int:
        """How many calls: as told, else the scenario's own number."""
        return self.calls or (quick if self.quick else full)

    @contextlib.asynccontextmanager
    async def stack(self, **settings: str) -> AsyncIterator[Measured]:
        """The stack that was given, or a new one with scripted models and these settings, down again afterwards."""
        if self.running is not None:
            yield self.running
            return
        # Starting waits for processes: in a thread, so that other work of the loop goes on.
        owner = _stack(settings)
        found = await asyncio.to_thread(owner.__enter__)
        try:
            yield found
        finally:
            await asyncio.to_thread(owner.__exit__, None, None, None)


@contextlib.contextmanager
def _stack(settings: Mapping[str, str]) -> Iterator[Measured]:
    with contextlib.ExitStack() as owned:
        folder = Path(owned.enter_context(tempfile.TemporaryDirectory(prefix="switchboard-chaos-")))
        told = owned.enter_context(scripted_models(folder / "models.log"))
        try:
            found = owned.enter_context(started(folder / "home", **{**told, **settings}))
        except AssertionError as failed:
            raise BenchFailed(f"the stack did not come up: {failed}") from None
        yield Measured(found, told["LLM_BASE_URL"].removesuffix("/v1"))


def share(good: int, of: int) -> str:
    return f"{good} of {of}"


def all_of(what: str, good: Iterable[bool], wanted: str = "all") -> Row:
    """A row that is met when every case is good, and there is one."""
    cases = list(good)
    return Row(what, share(sum(cases), len(cases)), wanted, bool(cases) and all(cases))


def none_of(what: str, bad: int, of: str = "") -> Row:
    return Row(what, f"{bad}{of}", "0", bad == 0)


def within(what: str, values: Iterable[float | None], p95: float) -> Row:
    """A row of a spread in seconds whose p95 has a limit."""
    found = Spread.of(values)
    if found is None:
        return Row(what, "none measured", f"p95 ≤ {p95:g} s", False)
    return Row(what, spread(found), f"p95 ≤ {p95:g} s", found.p95 <= p95)


def spread(found: Spread) -> str:
    return f"p50 {found.p50:.2f}, p95 {found.p95:.2f}, worst {found.worst:.2f} s ({found.n})"
