"""A worker's registration with LiveKit: made again as soon as the server can be reached, for ever.

The library waits up to ten seconds between its tries and gives up after sixteen, and a worker that waits takes no
calls. Calls that run have connections of their own: nothing here touches them.
"""

import asyncio
from typing import Any

import structlog
from livekit.agents import AgentServer
from livekit.agents import worker as library
from livekit.protocol import agent

log = structlog.get_logger(__name__)

TRY_AGAIN_S = 0.5
# From the first byte to the server's answer; a server that hangs must not be waited for.
REGISTER_S = 5.0
# A server whose host has vanished closes nothing: it is noticed after one and a half of these.
HEARTBEAT_S = 5.0


class RegisteredServer(AgentServer):
    """An `AgentServer` that is registered whenever LiveKit can be reached.

    Rests on private parts of the library, whose version is pinned: `_connection_task` (one connection, with tries),
    `_handle_register`, `_pending_assignments`. There is no public way to any of it.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options, max_retry=0)
        self._limit: asyncio.Timeout | None = None
        self._trouble = ""
        library.HEARTBEAT_INTERVAL = HEARTBEAT_S  # type: ignore[assignment]

    @property
    def registered(self) -> bool:
        """Whether LiveKit knows this worker now."""
        return self._limit is not None and self._limit.when() is None

    async def _connection_task(self) -> None:
        while not self._closed:
            await self._connect_once()
            if not self._closed:
                await asyncio.sleep(TRY_AGAIN_S)

    async def _connect_once(self) -> None:
        """Returns when the connection is lost, or could not be made."""
        connected = AgentServer._connection_task.__wrapped__  # type: ignore[attr-defined]
        try:
            async with asyncio.timeout(REGISTER_S) as self._limit:
                await connected(self)
        except Exception as error:  # the border to the library: whatever it was, the next try is due
            self._say_once(str(error.__context__ or error) or type(error).__name__)
        finally:
            self._limit = None
            self._connecting = True
            self._give_up_assignments()

    def _handle_register(self, reg: agent.RegisterWorkerResponse) -> None:
        if self._limit is not None:
            self._limit.reschedule(None)
        self._trouble = ""
        super()._handle_register(reg)

    def _give_up_assignments(self) -> None:
        """Jobs that were accepted on a connection that is gone are never assigned: their slots are free at once."""
        for waiting in list(self._pending_assignments.values()):
            if not waiting.done():
                waiting.set_exception(
                    ConnectionError("the connection to LiveKit was lost before the job was assigned")
                )
        self._pending_assignments.clear()

    def _say_once(self, trouble: str) -> None:
        if trouble != self._trouble:
            log.warning("livekit_not_reached", error=trouble[:300])
        self._trouble = trouble
