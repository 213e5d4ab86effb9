"""Forgetting over HTTP: callers, conversations, and the receipts of both."""

from datetime import datetime
from typing import Annotated, Literal, Self
from uuid import UUID

from fastapi import APIRouter, Path, Request
from pydantic import AfterValidator, BaseModel

from control.access import ADMIN, VIEWER, Actor, GuardedRoute, Role
from control.errors import Forbidden, NotFound, documented
from control.fields import Text
from control.forgetting import receipt
from control.forgetting.receipt import Receipt
from control.forgetting.tables import QUERIES
from control.forgetting.told import digits_of

routes = APIRouter(tags=["Forgetting"], route_class=GuardedRoute, responses=documented(400, 401, 403, 503))

_NO_RECEIPT = "There is no such receipt."
_NO_CONVERSATION = "There is no such conversation."


def _caller(value: str) -> str:
    if digits_of(value) is None:
        raise ValueError("is no phone number: digits, with spaces, dashes, dots, brackets and one leading + at most")
    return value


Caller = Annotated[
    str,
    Path(min_length=1, max_length=200, description="A number in any spelling, also as `sip:+15550100001@host`."),
    AfterValidator(_caller),
]


class ReceiptOut(BaseModel):
    """What went of a caller or conversation, as counts by place, and what stayed because it is the operators' own.

    `forgetting` until all of it is gone. What else comes of it later is refused, and counted as `refused`.
    """

    receipt_id: UUID
    what: Literal["caller", "conversation"]
    state: Literal["forgetting", "forgotten"]
    asked_at: datetime
    asked_by: str
    finished_at: datetime | None
    went: dict[str, int]
    kept: dict[str, int]

    @classmethod
    def of(cls, one: Receipt) -> Self:
        return cls(
            receipt_id=one.id,
            what="caller" if one.of_caller else "conversation",
            state="forgetting" if one.finished_at is None else "forgotten",
            asked_at=one.asked_at,
            asked_by=one.asked_by,
            finished_at=one.finished_at,
            went=one.went,
            kept=one.kept,
        )


@routes.delete("/callers/{number}", status_code=202)
async def forget_caller(number: Caller, request: Request, actor: Annotated[Actor, ADMIN]) -> ReceiptOut:
    """Forgets everything of the calls that this number made up to now, everywhere, for good.

    A call under way goes on, and nothing more of it is recorded. A number that never called gets an empty receipt,
    as facts of a call may still be under way. Who calls again afterwards is a new caller.
    """
    parts = request.app.state.parts
    async with parts.database.transaction() as connection:
        return ReceiptOut.of(await parts.forgetting.caller(connection, actor, number))


@routes.delete("/conversations/{conversation_id}", status_code=202, responses=documented(404))
async def forget_conversation(
    conversation_id: Annotated[Text, Path(min_length=1, max_length=128)],
    request: Request,
    actor: Annotated[Actor, VIEWER],
) -> ReceiptOut:
    """Forgets a conversation with all of its calls, everywhere, for good.

    Admins may, and the owner of one in which nobody called, such as a chat.
    """
    parts = request.app.state.parts
    async with parts.database.transaction() as connection:
        row = await connection.fetchrow(QUERIES["known_conversation"], conversation_id)
        owned = row is not None and row["owner"] == actor.owner
        if row is None or not (owned or actor.role == Role.ADMIN):
            raise NotFound(_NO_CONVERSATION)
        if row["has_calls"] and actor.role != Role.ADMIN:
            raise Forbidden("Somebody called in this conversation: only an admin may have it forgotten.")
        return ReceiptOut.of(await parts.forgetting.conversation(connection, actor, conversation_id))


@routes.get("/receipts/{receipt_id}", responses=documented(404))
async def read_receipt(receipt_id: UUID, request: Request, actor: Annotated[Actor, VIEWER]) -> ReceiptOut:
    """How far a request to forget is, and what went. For admins, and for who asked."""
    async with request.app.state.parts.database.session() as connection:
        found = await receipt.read(connection, receipt_id)
    if actor.role != Role.ADMIN and found.user_id != actor.owner:
        raise NotFound(_NO_RECEIPT)
    return ReceiptOut.of(found)
