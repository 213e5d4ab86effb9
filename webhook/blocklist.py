"""Who is blocked: asked of control every few seconds, known in memory, so that a call waits for nothing.

The last good list stays while control is away, and in Redis for a process that starts meanwhile.
"""

import asyncio
import contextlib
import time
from collections.abc import Iterable

import structlog
from pydantic import ValidationError

from switchboard.blocklist import ANONYMOUS, MAX_BYTES, PATH, Patterns
from switchboard.number import normalise
from switchboard.outbound import Outbound, OutboundError
from webhook.call import Call
from webhook.store import Store

log = structlog.get_logger(__name__)

PAUSE_S = 2.0
ANSWER_S = 2.0
FIRST_ANSWER_S = 1.0
FAILURES_TOLD = 2
# The list is put in Redis when it changes, and so often again, as Redis may have lost it.
KEPT_FOR_S = 60.0
# What carriers and exchanges put where a caller keeps the number back.
WITHHELD = frozenset({"", ANONYMOUS, "private", "restricted", "unavailable", "unknown", "withheld"})


class _NoList(Exception):
    """There is no list to be had; the text says why."""


class Blocked:
    """The patterns of a list. To ask takes the same few steps however long the list is."""

    def __init__(self, patterns: Iterable[str] = ()) -> None:
        self._patterns = frozenset(patterns)

    def __len__(self) -> int:
        return len(self._patterns)

    def number(self, shown: str | None) -> bool:
        """Whether a phone that shows this number, in any spelling, is blocked; one that shows none is anonymous."""
        # A number may come with parameters, as in `+15550100001;phone-context=example.com`.
        shown = (shown or "").partition(";")[0].strip()
        if shown.lower() in WITHHELD:
            return ANONYMOUS in self._patterns
        digits = normalise(shown)
        if digits is None:
            return False
        return digits in self._patterns or any(
            f"{digits[:end]}*" in self._patterns for end in range(1, len(digits) + 1)
        )


class Blocklist:
    """`control_url` is where the list is kept; `token` is `INTERNAL_TOKEN`."""

    def __init__(self, store: Store, outbound: Outbound, control_url: str, token: str) -> None:
        self._store = store
        self._outbound = outbound
        self._url = f"{control_url}{PATH}"
        self._token = token
        self._blocked = Blocked()
        self._text: bytes | None = None
        self._kept_at = float("-inf")
        self._failures = 0

    def blocks(self, call: Call) -> bool:
        """Whether the call gets no agent. Browsers have no number, and are never blocked."""
        return call.channel == "sip" and self._blocked.number(call.number)

    async def begin(self) -> None:
        """Comes to a list before the first call: the one in Redis, and control's if that answers within 1 s."""
        await self._recall()
        with contextlib.suppress(_NoList):
            await self._refresh(FIRST_ANSWER_S)

    async def run(self) -> None:
        """Keeps the list fresh until cancelled; while control is away it stays as it is."""
        while True:
            await asyncio.sleep(PAUSE_S)
            try:
                await self._refresh(ANSWER_S)
                self._failures = 0
            except _NoList as error:
                self._complain(str(error))
                await self._recall()
            except Exception:
                # The process's border: a fault in one round must not leave the list as it is for good.
                log.exception("blocklist_failed")

    async def _refresh(self, timeout_s: float) -> None:
        """Asks control once. Raises `_NoList`."""
        text = await self._asked(timeout_s)
        self._take(text)
        now = time.monotonic()
        if now - self._kept_at >= KEPT_FOR_S and await self._store.keep_blocklist(text.decode()):
            self._kept_at = now

    async def _asked(self, timeout_s: float) -> bytes:
        try:
            answer = await self._outbound.request(
                "GET",
                self._url,
                timeout_s=timeout_s,
                max_bytes=MAX_BYTES,
                headers={"Authorization": f"Bearer {self._token}"},
                plain_http=True,
            )
        except OutboundError as error:
            raise _NoList(f"control cannot be asked who is blocked: {error}") from None
        if answer.status != 200:
            raise _NoList(f"control answers {answer.status} when asked who is blocked")
        return answer.body

    def _take(self, text: bytes) -> None:
        """Raises `_NoList`; then the list before stays."""
        if text == self._text:
            return
        try:
            found = Patterns.model_validate_json(text)
        except ValidationError:
            raise _NoList("the list of who is blocked cannot be read") from None
        self._blocked = Blocked(found.patterns)
        self._text = text
        self._kept_at = float("-inf")
        log.info("blocklist_taken", entries=len(self._blocked))

    async def _recall(self) -> None:
        """Takes the list in Redis when there is none yet."""
        if self._text is not None:
            return
        found = await self._store.blocklist()
        try:
            if found is not None:
                self._take(found.encode())
        except _NoList:
            log.warning("blocklist_in_redis_skipped")

    def _complain(self, trouble: str) -> None:
        self._failures += 1
        # Said once, not every few seconds, and not of a control that is just starting beside us.
        if self._failures == FAILURES_TOLD:
            log.warning("blocklist_not_refreshed", error=trouble[:200], entries=len(self._blocked))
