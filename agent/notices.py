"""What a worker tells the webhook service: of agents that are lost, of jobs it took or refused, and that it is ready.

Nothing here delays or harms a call: each notice is a task of its own with short tries, and whoever does not hear one
finds out by itself later.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from itertools import chain, repeat
from urllib.parse import urlsplit
from uuid import UUID

import structlog

from agent.lifeline import Reason
from switchboard.notice import WORKER_READY, Answer, Lost, Notice, WorkerReady, accepted_path, lost_path, refused_path
from switchboard.outbound import Outbound, OutboundError
from switchboard.settings import Settings

log = structlog.get_logger(__name__)

MOST_PENDING = 256
ANSWER_S = 1.0
MAX_ANSWER = 16 * 1024
GIVE_UP_S = 30.0
LAST_S = 2.0
PAUSES_S = (0.1, 0.2, 0.5)
LONG_PAUSE_S = 1.0
# Refusals that say nothing about the notice: too slow, too many.
PASSING = (408, 429)
# Best effort: what came of a job is news for a moment only.
ONE_MORE = (0.1,)


class Notices:
    """One for a worker. Without a token nothing is told."""

    def __init__(self, outbound: Outbound, url: str, token: str, worker: str) -> None:
        self._outbound = outbound
        self._url = url
        self._token = token
        self._worker = worker
        self._pending: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._trouble = ""

    @classmethod
    @contextlib.asynccontextmanager
    async def opened(cls, settings: Settings, worker: str) -> AsyncIterator["Notices"]:
        """What is still pending when the body ends has two seconds more."""
        token = settings.internal_token.get_secret_value()
        if not token:
            log.warning("no_notices", error="INTERNAL_TOKEN is empty: lost agents are found by the watcher alone")
        # The one address that is called here is a setting, and may be private.
        async with Outbound.opened([urlsplit(settings.webhook_url).hostname or ""]) as outbound:
            notices = cls(outbound, settings.webhook_url, token, worker)
            try:
                yield notices
            finally:
                await notices._settle()

    def lost(self, call_id: UUID, attempt: int, reason: Reason, job: str = "") -> None:
        """The process of this attempt is dead for certain. Told again and again for half a minute."""
        log.error("agent_lost", call_id=str(call_id), attempt=attempt, reason=reason)
        self._tell(lost_path(call_id), Lost(attempt=attempt, reason=reason, job=job))

    def ready(self) -> None:
        """This worker is registered with LiveKit. Told again and again for half a minute."""
        self._tell(WORKER_READY, WorkerReady(worker=self._worker))

    def accepted(self, call_id: UUID, attempt: int) -> None:
        self._tell(accepted_path(call_id), Answer(attempt=attempt, worker=self._worker), pauses=ONE_MORE)

    def refused(self, call_id: UUID, attempt: int) -> None:
        self._tell(refused_path(call_id), Answer(attempt=attempt, worker=self._worker), pauses=ONE_MORE)

    async def _settle(self) -> None:
        pending = list(self._pending.values())
        if pending:
            await asyncio.wait(pending, timeout=LAST_S)
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)

    def _tell(self, path: str, notice: Notice, *, pauses: Sequence[float] | None = None) -> None:
        key = (path, notice.model_dump_json())
        if not self._token or key in self._pending:
            return
        if len(self._pending) >= MOST_PENDING:
            log.warning("notice_dropped", path=path, pending=len(self._pending))
            return
        task = asyncio.create_task(self._insist(path, notice, pauses), name="notice")
        self._pending[key] = task
        task.add_done_callback(lambda _task: self._pending.pop(key, None))

    async def _insist(self, path: str, notice: Notice, pauses: Sequence[float] | None) -> None:
        try:
            async with asyncio.timeout(GIVE_UP_S):
                for pause in chain(PAUSES_S, repeat(LONG_PAUSE_S)) if pauses is None else pauses:
                    if await self._told(path, notice):
                        return
                    await asyncio.sleep(pause)
                await self._told(path, notice)
        except TimeoutError:
            log.warning("notice_not_heard", path=path)

    async def _told(self, path: str, notice: Notice) -> bool:
        """Whether there is nothing more to try."""
        try:
            answer = await self._outbound.request(
                "POST",
                f"{self._url}{path}",
                timeout_s=ANSWER_S,
                max_bytes=MAX_ANSWER,
                headers={"Authorization": f"Bearer {self._token}"},
                json=notice.model_dump(mode="json"),
                plain_http=True,
            )
        except OutboundError as error:
            self._say_once(f"the webhook service cannot be told: {error}")
            return False
        if answer.status // 100 == 5 or answer.status in PASSING:
            self._say_once(f"the webhook service answers {answer.status}")
            return False
        if answer.status // 100 != 2:
            self._say_once(f"the webhook service refuses notices with status {answer.status}: check INTERNAL_TOKEN")
            return True
        self._trouble = ""
        return True

    def _say_once(self, trouble: str) -> None:
        if trouble != self._trouble:
            log.warning("notice_failed", error=trouble)
        self._trouble = trouble
