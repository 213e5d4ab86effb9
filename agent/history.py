"""What was said in the conversation that a call goes on with: asked of control, which may be away."""

import asyncio
from dataclasses import dataclass
from urllib.parse import urlsplit

import structlog
from pydantic import ValidationError

from switchboard.dispatch import DispatchMetadata
from switchboard.history import MAX_BYTES, History, Said, history_path
from switchboard.outbound import Outbound, OutboundError
from switchboard.settings import Settings

log = structlog.get_logger(__name__)

# Asked while the room is being joined, when an agent on a busy machine has much to do. To have forgotten what was
# written is worse for the caller than to wait.
DEADLINE_S = 2.0


@dataclass(frozen=True, slots=True)
class Earlier:
    """Oldest first. `missing` says why nothing is known, if so."""

    items: tuple[Said, ...] = ()
    missing: str = ""


async def earlier(settings: Settings, metadata: DispatchMetadata) -> Earlier | None:
    """What control knows, within two seconds; None for a call that is a conversation of its own. Never raises."""
    if metadata.conversation_id == str(metadata.call_id):
        return None
    try:
        async with asyncio.timeout(DEADLINE_S):
            return Earlier((await _asked(settings, metadata)).items)
    except TimeoutError:
        missing = f"no answer within {DEADLINE_S:g} s"
    except OutboundError as error:
        missing = str(error)
    except ValidationError:
        missing = "an answer that cannot be read"
    log.warning("history_missing", error=missing)
    return Earlier(missing=missing)


async def _asked(settings: Settings, metadata: DispatchMetadata) -> History:
    token = settings.internal_token.get_secret_value()
    if not token:
        raise OutboundError("INTERNAL_TOKEN is empty")
    # The one address that is called here is a setting, and may be private.
    async with Outbound.opened([urlsplit(settings.control_url).hostname or ""]) as outbound:
        answer = await outbound.request(
            "GET",
            f"{settings.control_url}{history_path(metadata.conversation_id, metadata.call_id)}",
            timeout_s=DEADLINE_S,
            max_bytes=MAX_BYTES,
            headers={"Authorization": f"Bearer {token}"},
            plain_http=True,
        )
    if answer.status != 200:
        raise OutboundError(f"status {answer.status}")
    return History.model_validate_json(answer.body)
