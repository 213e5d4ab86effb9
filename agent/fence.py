"""The fence: a process that was stopped, or hangs, ends before it is heard again.

Others may have replaced it meanwhile, and two agents must never be audible together. A thread looks at the event
loop's tick; it runs when the loop does not, and right after a stop. While a process is stopped the monotonic clock
goes on, while the whole machine sleeps it does not.
"""

import asyncio
import contextlib
import os
import select
import threading
import time
from collections.abc import Callable, Iterator

TICK_S = 0.05
LATE_S = 2.0
WATCH_S = 0.1
# How long a process whose worker is gone may take to leave by itself.
LEAVE_S = 0.6
STATUS = 75
_STDERR = 2


class Fence:
    """`leave` ends the process at once, with a status."""

    def __init__(
        self, *, clock: Callable[[], float] = time.monotonic, leave: Callable[[int], object] = os._exit
    ) -> None:
        self._clock = clock
        self._leave = leave
        self._ticked = clock()
        self._until = float("inf")
        self._down = threading.Event()
        self._ticking: asyncio.TimerHandle | None = None

    @contextlib.contextmanager
    def raised(self) -> Iterator["Fence"]:
        """Stands while the body runs, and after it when the process has to leave."""
        thread = threading.Thread(target=self._watch, name="fence", daemon=True)
        self._tick()
        thread.start()
        try:
            yield self
        finally:
            if self._ticking is not None:
                self._ticking.cancel()
            self._ticked = float("inf")
            if self._until == float("inf"):
                self._down.set()

    def leave_soon(self) -> None:
        """The process has `LEAVE_S` to end by itself."""
        self._until = min(self._until, self._clock() + LEAVE_S)

    def _tick(self) -> None:
        # After a stop either of the two may come first: the loop must not pass its own lateness over.
        self._judge()
        self._ticked = self._clock()
        self._ticking = asyncio.get_running_loop().call_later(TICK_S, self._tick)

    def _watch(self) -> None:
        while not self._down.wait(WATCH_S):
            self._judge()

    def _judge(self) -> None:
        # The tick is read before the clock: one that comes in between must not seem late.
        ticked = self._ticked
        late = self._clock() - ticked - TICK_S
        if late > LATE_S:
            self._end(f"the event loop was {late:.1f} s late")
        elif self._clock() > self._until:
            self._end("the worker is gone")

    def _end(self, why: str) -> None:
        self._down.set()
        _say(why)
        self._leave(STATUS)


def _say(why: str) -> None:
    """A line in the log, if it can be had without waiting."""
    with contextlib.suppress(OSError, ValueError):
        if select.select([], [_STDERR], [], 0)[1]:
            os.write(_STDERR, f'{{"event": "process_ends_itself", "level": "error", "why": "{why}"}}\n'.encode())
