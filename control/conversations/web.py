"""Calls from a browser: a token for one room, which makes its holder a caller of one number."""

import secrets
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from livekit import api

from control.errors import Unavailable
from switchboard.call import CONVERSATION, DIALED, call_id_of_browser
from switchboard.settings import Settings

JOIN_WITHIN = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class WebCall:
    url: str
    token: str
    room: str
    call_id: UUID


def web_call(settings: Settings, number: str, conversation: str | None = None) -> WebCall:
    """A new room's token, to be used within a minute. Raises `Unavailable` where LiveKit is not set up.

    `conversation`: the one that the call goes on with; else it begins its own.
    The token allows the microphone and typed words, and no change of its attributes: what they say is our word alone.
    """
    url = settings.livekit_public_url or settings.livekit_url
    secret = settings.livekit_api_secret.get_secret_value()
    if not (url and settings.livekit_api_key and secret):
        raise Unavailable("LIVEKIT_URL, LIVEKIT_API_KEY and LIVEKIT_API_SECRET are not all set.")
    room, identity = f"web-{secrets.token_hex(16)}", f"caller-{secrets.token_hex(8)}"
    grants = api.VideoGrants(
        room_join=True,
        room=room,
        can_publish=True,
        can_publish_sources=["microphone"],
        can_publish_data=True,
        can_subscribe=True,
        can_update_own_metadata=False,
    )
    token = (
        api.AccessToken(settings.livekit_api_key, secret)
        .with_identity(identity)
        .with_attributes({DIALED: number} | ({CONVERSATION: conversation} if conversation else {}))
        .with_grants(grants)
        .with_ttl(JOIN_WITHIN)
        .to_jwt()
    )
    return WebCall(url, token, room, call_id_of_browser(room, identity))
