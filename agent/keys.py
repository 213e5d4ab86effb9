"""Keys that the caller presses: those pressed together are one number, and nobody gets to see one of a card."""

import asyncio
import time
from collections.abc import Callable

from agent.cards import Cards
from switchboard.fact import Body, Dtmf

# Keys pressed together are one number.
TOGETHER_S = 2.0
# Digits that may become a card number wait so long for more of them: callers read it off in groups.
MORE_S = 5.0
# Says that the number is whole.
ENTER = "#"
MOST = 64
# A key of a card number.
HIDDEN_KEY = "x"


class Keys:
    """The keys of one call. They are reported when they are all there: before, nobody knows of what."""

    def __init__(self, tell: Callable[[Body], None], on_keys: Callable[[str], None]) -> None:
        """`on_keys` is told what may be known of each number."""
        self._tell = tell
        self._on_keys = on_keys
        # Who is slow presses the first ones singly.
        self._cards = Cards(begun=1)
        self._pressed = ""
        self._began = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def press(self, key: str) -> None:
        if not self._pressed:
            self._began = time.monotonic()
        self._pressed = (self._pressed + key)[-MOST:]
        self._wait(0.0 if key == ENTER else TOGETHER_S, self._together)

    def close(self) -> None:
        """No more keys come. Of digits that may have become a card number nothing is told."""
        self._stop_waiting()
        shown = self._known()
        self._told(shown, hidden=self._cards.dictating() is not None)

    def _wait(self, seconds: float, then: Callable[[], None]) -> None:
        self._stop_waiting()
        self._timer = asyncio.get_running_loop().call_later(seconds, then)

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _together(self) -> None:
        self._known()
        if self._cards.dictating() is not None and not self._pressed.endswith(ENTER):
            self._wait(MORE_S - TOGETHER_S, self._all)
        else:
            self._all()

    def _all(self) -> None:
        shown = self._known()
        self._told(shown)
        self._on_keys(shown)

    def _known(self) -> str:
        """What may be known of them, after the numbers before: they may be parts of one."""
        return self._cards.words(self._pressed, self._began)

    def _told(self, shown: str, *, hidden: bool = False) -> None:
        keys, self._pressed = self._pressed, ""
        hidden = hidden or shown != keys
        for key in keys:
            self._tell(Dtmf(digit=HIDDEN_KEY if hidden else key))
