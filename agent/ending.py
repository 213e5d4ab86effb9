"""Why a call, or one agent's part in it, ends: once, and the first reason is the reason."""

import asyncio
from collections.abc import Callable
from enum import StrEnum

from livekit import rtc


class Reason(StrEnum):
    CALLER_HUNG_UP = "caller_hung_up"
    AGENT_ENDED = "agent_ended"
    SILENCE = "silence"
    MAX_LENGTH = "max_length"
    MODEL_FAILED = "model_failed"
    ROOM_CLOSED = "room_closed"
    REPLACED = "replaced"
    CONNECTION_LOST = "connection_lost"
    WORKER_LOST = "worker_lost"
    CRASHED = "crashed"
    UNANSWERED = "unanswered"
    FAILED = "failed"

    @property
    def polite(self) -> bool:
        """The caller is still there, and is said goodbye to."""
        return self in (Reason.AGENT_ENDED, Reason.SILENCE, Reason.MAX_LENGTH)

    @property
    def unheard(self) -> bool:
        """Nothing more can be heard of this agent."""
        return self in (
            Reason.CALLER_HUNG_UP,
            Reason.ROOM_CLOSED,
            Reason.REPLACED,
            Reason.CONNECTION_LOST,
            Reason.WORKER_LOST,
            Reason.CRASHED,
            Reason.UNANSWERED,
        )

    @property
    def only_ours(self) -> bool:
        """This agent's part is over, but not the call: another one serves it, or will."""
        return self is Reason.REPLACED or self.needs_successor

    @property
    def needs_successor(self) -> bool:
        """The caller is still there, and nobody serves the call now."""
        return self in (Reason.CONNECTION_LOST, Reason.WORKER_LOST, Reason.CRASHED)


_OF_A_DISCONNECT = {
    rtc.DisconnectReason.ROOM_DELETED: Reason.ROOM_CLOSED,
    rtc.DisconnectReason.ROOM_CLOSED: Reason.ROOM_CLOSED,
    rtc.DisconnectReason.PARTICIPANT_REMOVED: Reason.REPLACED,
    rtc.DisconnectReason.DUPLICATE_IDENTITY: Reason.REPLACED,
}


def of_disconnect(reason: int) -> Reason:
    """What it means for the agent that its room connection ended so (LiveKit's DisconnectReason)."""
    return _OF_A_DISCONNECT.get(reason, Reason.CONNECTION_LOST)  # type: ignore[call-overload,no-any-return]


class Ending:
    """The one end of a call. `last`: when this agent fails, the call has failed."""

    def __init__(self, *, last: bool = True) -> None:
        self.last = last
        self._reason: asyncio.Future[Reason] = asyncio.get_running_loop().create_future()

    def because(self, reason: Reason) -> None:
        """The call ends now; a later reason changes nothing."""
        if not self._reason.done():
            self._reason.set_result(reason)

    def failed(self) -> None:
        """Something of ours broke: another agent may do better, a few times."""
        self.because(Reason.FAILED if self.last else Reason.CRASHED)

    def then(self, tell: Callable[[Reason], None]) -> None:
        """Calls `tell` with the reason, as soon as there is one."""
        self._reason.add_done_callback(lambda known: None if known.cancelled() else tell(known.result()))

    async def reason(self) -> Reason:
        """Returns when there is a reason."""
        return await asyncio.shield(self._reason)

    @property
    def known(self) -> Reason | None:
        return self._reason.result() if self._reason.done() else None
