"""Places in lists that are read newest first, as text that clients hand back for the following page."""

import base64
import binascii
from datetime import datetime
from uuid import UUID

from control.errors import BadRequest

_NONE_GIVEN = "cursor: is none that was given; leave it out for the first page."


def write(at: datetime, id: UUID) -> str:
    """The place behind the entry of this time and id."""
    return base64.urlsafe_b64encode(f"{at.isoformat()}|{id}".encode()).decode()


def read(cursor: str) -> tuple[datetime, UUID]:
    """Time and id of the entry that the page before ended with. Raises `BadRequest`."""
    try:
        at, _, id = base64.b64decode(cursor, altchars=b"-_", validate=True).decode().partition("|")
        place = datetime.fromisoformat(at), UUID(id)
    except (ValueError, binascii.Error):
        raise BadRequest(_NONE_GIVEN) from None
    if place[0].tzinfo is None:
        raise BadRequest(_NONE_GIVEN)
    return place
