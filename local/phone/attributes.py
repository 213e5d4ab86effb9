"""What the room learns of a SIP call: the participant attributes that livekit-sip sets, cleaned and capped."""

import re
import secrets
import string
from dataclasses import dataclass
from urllib.parse import unquote

from aiosipua.message import SipRequest

from switchboard.number import normalise

RULE_ID = "SDR_LocalPhoneLine"
TRUNK_ID = "ST_LocalPhoneLine"

MAX_VALUE = 512
# Four bytes a character, LiveKit names of 256 bytes.
MAX_NUMBER = 48
MAX_HEADERS = 32
# LiveKit takes 64 KiB of attributes; what it adds itself needs room too.
MAX_TOTAL = 60 * 1024

_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ufeff\ufffd]|[\ud800-\udfff]")
_HEADER = re.compile(r"x-[a-z0-9_.-]{1,62}")
_USER = re.compile(r"sips?:([^@;:?<>]*)[^@<>]*@|tel:([^;<>]*)", re.IGNORECASE)
_ALPHABET = string.ascii_letters + string.digits


@dataclass(frozen=True, slots=True)
class Parties:
    """Who calls whom, as the INVITE says. All of it is the caller's word."""

    dialed: str
    caller: str
    host: str


def clean(text: str, limit: int = MAX_VALUE) -> str:
    """`text` without control characters, at most `limit` characters long."""
    return _CONTROLS.sub("", text).strip()[:limit]


def parties_of(invite: SipRequest) -> Parties | None:
    """Both numbers of an INVITE; None when what was dialed is no number."""
    sender = invite.from_addr
    dialed = _user(invite.uri) or _user(invite.get_header("to") or "")
    if normalise(dialed) is None:
        return None
    caller = clean(_user(invite.get_header("from") or ""), MAX_NUMBER) or "anonymous"
    return Parties(dialed, caller, clean(sender.uri.host if sender else "", MAX_NUMBER))


def new_sip_call_id() -> str:
    """A fresh `sip.callID`, in the shape of livekit-sip's."""
    return "SCL_" + random_name(12)


def random_name(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


def attributes_of(invite: SipRequest, parties: Parties, sip_call_id: str) -> dict[str, str]:
    """The attributes with which the caller joins the room; at most 60 KiB in all."""
    sender = invite.from_addr
    attributes = {
        "sip.callID": sip_call_id,
        "sip.callIDFull": clean(invite.call_id or ""),
        "sip.callStatus": "ringing",
        "sip.callTag": clean((sender.tag if sender else None) or ""),
        "sip.hostname": parties.host,
        "sip.phoneNumber": parties.caller,
        "sip.ruleID": RULE_ID,
        "sip.trunkID": TRUNK_ID,
        "sip.trunkPhoneNumber": clean(parties.dialed, MAX_NUMBER),
    }
    return _within(attributes | _headers(invite))


def _headers(invite: SipRequest) -> dict[str, str]:
    taken: dict[str, str] = {}
    for name, values in invite.headers.items():
        lower = name.lower()
        if len(taken) < MAX_HEADERS and _HEADER.fullmatch(lower):
            taken[f"sip.h.{lower}"] = clean(values[0])
    return taken


def _within(attributes: dict[str, str]) -> dict[str, str]:
    total, kept = 0, {}
    for name, value in attributes.items():
        total += len(name.encode()) + len(value.encode())
        if total > MAX_TOTAL:
            break
        kept[name] = value
    return kept


def _user(address: str) -> str:
    # Read here and not by the library, which takes "number;phone-context=…@host" for a host.
    found = _USER.search(address)
    return unquote(found.group(1) or found.group(2) or "") if found else ""
