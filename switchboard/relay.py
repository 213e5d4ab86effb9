"""One request to services that may fail: while the first is silent the next one is asked, and who answers serves.

The tries overlap, so that a service that hangs costs a caller a second and not its whole limit. A service that
breaks off in the middle is replaced by one that starts anew.
"""

import asyncio
import contextvars
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import structlog

log = structlog.get_logger(__name__)

# A service that failed is asked last for this long: its callers need not wait for it each time.
SHUNNED_S = 30.0
# What it may take to let go of a request that nobody waits for any more.
CLOSE_S = 2.0

Service = TypeVar("Service")
Piece = TypeVar("Piece")


class ModelsFailed(Exception):
    """Every configured model of a part failed; the message says how."""


def reason_of(error: Exception) -> str:
    """Why a part failed, in words that hold nothing of what a service answered."""
    return str(error) if isinstance(error, ModelsFailed) else type(error).__name__


class _SaidNothing(Exception):
    """An answer without anything in it: asked again, but when that is all there is to say, it is no failure."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds without anything from any service: the next one is asked as well; the part is slow, or has failed.

    What is slow has failed `grace_s` later; once in a request.
    """

    patience_s: float
    limit_s: float
    grace_s: float = 0.0


class Relay(Generic[Service]):
    """The services of one part, in the order of the settings."""

    def __init__(
        self,
        part: str,
        services: Sequence[Service],
        limits: Limits,
        recovered: Callable[[str], None],
        *,
        beside_itself: bool = True,
    ) -> None:
        """`recovered` is told why a service failed when another try served.

        `beside_itself`: the only service is asked again while it is silent, and not only when it has failed.
        """
        self.beside_itself = beside_itself
        self.part = part
        self.services = services
        self.limits = limits
        self._recovered = recovered
        self._shunned_until = [0.0] * len(services)
        self._closing: set[asyncio.Task[None]] = set()

    async def pieces(
        self,
        ask: Callable[[Service], AsyncGenerator[Piece, None]],
        *,
        may_restart: Callable[[], bool] = lambda: True,
    ) -> AsyncGenerator[tuple[int, Piece | None], None]:
        """What a service gives, each piece with how many have served before it: a new one starts anew.

        None is no piece: all are slow, and the caller may be told to wait. `may_restart` is asked once pieces were
        given. Raises `ModelsFailed`.
        """
        race = _Race(self, ask, may_restart)
        try:
            while (piece := await race.next()) is not None:
                yield race.takeovers, piece[0]
        finally:
            race.close()

    def order(self) -> list[int]:
        """Whom to ask, one after another; the only one is asked a second time."""
        now = time.monotonic()
        found = sorted(range(len(self.services)), key=lambda at: self._shunned_until[at] > now)
        return found if len(found) > 1 else found * 2

    def failed(self, at: int, why: BaseException | str) -> None:
        self._shunned_until[at] = time.monotonic() + SHUNNED_S
        log.warning("model_failed", part=self.part, service=at, error=str(why)[:300], kind=type(why).__name__)

    def let_go(self, one: "_Try[Any]") -> None:
        """Ends a request behind the caller's back: a service that hangs may be as slow to be let go."""
        closing = asyncio.create_task(one.close(), name="relay.close", context=one.context)
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    def served(self, at: int, failures: Sequence[str]) -> None:
        self._shunned_until[at] = 0.0
        if failures:
            self._recovered(failures[0])


class _Try(Generic[Piece]):
    """One service's answer, of which the next piece is awaited."""

    def __init__(self, at: int, pieces: AsyncGenerator[Piece, None]) -> None:
        self.at = at
        self._pieces = pieces
        # One for all tasks of an answer: libraries take back at its end what they set there at its beginning.
        self.context = contextvars.copy_context()
        self.begun = False
        self.advance()

    def advance(self) -> None:
        self.task = asyncio.create_task(self._next(), name="relay.next", context=self.context)

    async def _next(self) -> tuple[Piece] | None:
        async for piece in self._pieces:
            return (piece,)
        return None

    def result(self) -> tuple[Piece] | None:
        """The piece, or None at the end. Raises what the service raised, or that it gave nothing at all."""
        piece = self.task.result()
        if piece is None and not self.begun:
            raise _SaidNothing
        return piece

    async def close(self) -> None:
        self.task.cancel()
        try:
            async with asyncio.timeout(CLOSE_S):
                await asyncio.gather(self.task, return_exceptions=True)
                await self._pieces.aclose()
        except Exception:  # the process border to models of any make
            log.warning("model_not_let_go", exc_info=True)


class _Race(Generic[Service, Piece]):
    """The tries of one request."""

    def __init__(
        self,
        relay: Relay[Service],
        ask: Callable[[Service], AsyncGenerator[Piece, None]],
        may_restart: Callable[[], bool],
    ) -> None:
        self._relay = relay
        self._ask = ask
        self._may_restart = may_restart
        self._unasked = deque(relay.order())
        self._running: list[_Try[Piece]] = []
        self._failures: list[str] = []
        self._serving: _Try[Piece] | None = None
        self._grace_s = relay.limits.grace_s
        self._is_slow = False
        self.takeovers = -1

    async def next(self) -> tuple[Piece | None] | None:
        """The next piece from whoever gives one first, (None,) when all are slow, or None at the end.

        Raises `ModelsFailed`.
        """
        end = time.monotonic() + self._begin()
        ask_at = self._next_ask()
        while True:
            if not self._running and not self._ask_another():
                if set(self._failures) == {_SaidNothing.__name__}:
                    return None
                raise self._failed()
            await self._wait(min(ask_at, end) if self._another_beside() else end)
            for one in [one for one in self._running if one.task.done()]:
                if self._works(one):
                    return self._settle(one)
                # Whoever is next has its own time to be asked in.
                ask_at = self._next_ask() if self._ask_another() else ask_at
            if time.monotonic() >= end:
                if self._may_be_slow():
                    return (None,)
                self._give_up()
            if time.monotonic() >= ask_at and self._another_beside() and self._ask_another():
                ask_at = self._next_ask()

    def _begin(self) -> float:
        """Asks for the next piece, if nobody is asked for it yet; returns the seconds that it may take."""
        if self._is_slow:
            self._is_slow = False
            grace_s, self._grace_s = self._grace_s, 0.0
            return grace_s
        if self._serving is not None:
            self._serving.advance()
        else:
            self._ask_another()
        return self._relay.limits.limit_s

    def _next_ask(self) -> float:
        return time.monotonic() + self._relay.limits.patience_s

    def _may_be_slow(self) -> bool:
        self._is_slow = bool(self._running) and self._grace_s > 0
        return self._is_slow

    def _another(self) -> bool:
        return bool(self._unasked) and (self._serving is None or self._may_restart())

    def _another_beside(self) -> bool:
        """Whether there is one to ask while others have not answered yet."""
        return self._another() and (
            self._relay.beside_itself or self._unasked[0] not in [one.at for one in self._running]
        )

    def _ask_another(self) -> bool:
        if not self._another():
            return False
        at = self._unasked.popleft()
        self._running.append(_Try(at, self._ask(self._relay.services[at])))
        return True

    async def _wait(self, until: float) -> None:
        await asyncio.wait(
            [one.task for one in self._running],
            timeout=max(until - time.monotonic(), 0.0),
            return_when=asyncio.FIRST_COMPLETED,
        )

    def _works(self, one: _Try[Piece]) -> bool:
        try:
            one.result()
        except Exception as error:  # the process border to models of any make
            self._lose(one, error)
            return False
        return True

    def _lose(self, one: _Try[Piece], why: Exception | str) -> None:
        self._running.remove(one)
        self._failures.append(why if isinstance(why, str) else type(why).__name__)
        self._relay.failed(one.at, why)
        self._relay.let_go(one)

    def _settle(self, winner: _Try[Piece]) -> tuple[Piece] | None:
        """`winner` serves from now on; who was asked before it has failed, who was asked after it is let go."""
        for one in self._running[: self._running.index(winner)]:
            self._lose(one, "slow")
        for one in [one for one in self._running if one is not winner]:
            self._running.remove(one)
            self._relay.let_go(one)
        if self._serving is not winner:
            self._serving = winner
            self.takeovers += 1
            self._relay.served(winner.at, self._failures)
            self._failures.clear()
        winner.begun = True
        return winner.result()

    def _give_up(self) -> None:
        for one in list(self._running):
            self._lose(one, "silent")
        raise self._failed()

    def _failed(self) -> ModelsFailed:
        return ModelsFailed(", ".join(dict.fromkeys(self._failures)))

    def close(self) -> None:
        for one in self._running:
            self._relay.let_go(one)
        self._running.clear()
