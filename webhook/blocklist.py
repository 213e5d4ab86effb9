"""Who is blocked: asked of control every few seconds, known in memory, so that a call waits for nothing.

The last good list stays while control is away, and in Redis for a process that starts meanwhile.
"""

import asyncio
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
# The list is put in Redis when it changes, and so often again, as Redis may have lost it.
KEPT_FOR_S = 60.0
# What carriers and exchanges put where a caller keeps the number back.
WITHHELD = frozenset({"", ANONYMOUS, "private", "restricted", "unavailable", "unknown", "withheld"})


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
        self._trouble = ""

    def blocks(self, call: Call) -> bool:
        """Whether the call gets no agent. Browsers have no number, and are never blocked."""
        return call.channel == "sip" and self._blocked.number(call.number)

    async def begin(self) -> None:
        """Comes to a list before the first call: the one in Redis, and control's if that answers within 1 s."""
        await self._recall()
        await self._refresh(FIRST_ANSWER_S)

    async def run(self) -> None:
        """Keeps the list fresh until cancelled."""
        while True:
            await asyncio.sleep(PAUSE_S)
            try:
                await self._refresh(ANSWER_S)
            except Exception:
                # The process's border: a fault in one round must not leave the list as it is for good.
                log.exception("blocklist_failed")

    async def _refresh(self, timeout_s: float) -> None:
        """Asks control once; without it the list stays as it is, or comes from Redis when there is none yet."""
        try:
            text = await self._asked(timeout_s)
            self._take(text)
        except (OutboundError, ValueError) as error:
            self._complain(str(error) if isinstance(error, OutboundError) else "its answer cannot be read")
            await self._recall()
            return
        self._trouble = ""
        await self._keep(text)

    async def _asked(self, timeout_s: float) -> bytes:
        answer = await self._outbound.request(
            "GET",
            self._url,
            timeout_s=timeout_s,
            max_bytes=MAX_BYTES,
            headers={"Authorization": f"Bearer {self._token}"},
            plain_http=True,
        )
        if answer.status != 200:
            raise OutboundError(f"it answers {answer.status}")
        return answer.body

    def _take(self, text: bytes) -> None:
        """Raises `ValueError` for what is no list; then the one before stays."""
        if text == self._text:
            return
        self._blocked = Blocked(Patterns.model_validate_json(text).patterns)
        self._text = text
        self._kept_at = float("-inf")
        log.info("blocklist_taken", entries=len(self._blocked))

    async def _keep(self, text: bytes) -> None:
        now = time.monotonic()
        if now - self._kept_at >= KEPT_FOR_S and await self._store.keep_blocklist(text.decode()):
            self._kept_at = now

    async def _recall(self) -> None:
        if self._text is not None:
            return
        found = await self._store.blocklist()
        if found is None:
            return
        try:
            self._take(found.encode())
        except ValidationError:
            log.warning("blocklist_in_redis_skipped")

    def _complain(self, reason: str) -> None:
        # Said once for each trouble, not every few seconds.
        if reason != self._trouble:
            log.warning("blocklist_not_refreshed", error=f"control: {reason}"[:200], entries=len(self._blocked))
        self._trouble = reason
