"""Offer and answer (RFC 3264): which codec, where the audio goes, and who may speak."""

import ipaddress
import time
from dataclasses import dataclass

from aiosipua.message import SipMessage
from aiosipua.sdp import SdpMessage, SdpNegotiationError, build_sdp, negotiate_sdp, parse_sdp, serialize_sdp

from local.phone.wire import Address

G711 = (0, 8)
PTIMES = (10, 20, 30, 40, 60)
DTMF_PAYLOAD_TYPE = 101


class NotAcceptable(Exception):
    """The offer has no G.711 audio, or cannot be read."""


@dataclass(frozen=True, slots=True)
class Audio:
    """What both sides agreed on. `ptime` is in milliseconds; `dtmf` is None without telephone events."""

    remote: Address
    payload_type: int
    dtmf: int | None
    ptime: int
    held: bool

    @property
    def samples(self) -> int:
        """Samples of one packet, at 8 kHz."""
        return self.ptime * 8


def read_offer(message: SipMessage) -> SdpMessage | None:
    """The session description that a message carries, or None. Raises NotAcceptable."""
    if not message.body:
        return None
    if (message.content_type or "").split(";")[0].strip().lower() != "application/sdp":
        raise NotAcceptable("the body is no session description")
    try:
        return parse_sdp(message.text)
    except ValueError:
        raise NotAcceptable("the session description cannot be read") from None


def answer_offer(offer: SdpMessage, host: str, port: int, version: int) -> tuple[str, Audio]:
    """The answer to `offer`, as text, and what was agreed. Raises NotAcceptable."""
    dtmf = _dtmf_of(offer)
    try:
        answer, payload_type = negotiate_sdp(offer, host, port, list(G711), dtmf or 0, session_id=str(version))
    except SdpNegotiationError as error:
        raise NotAcceptable(str(error)) from None
    audio = answer.audio
    if audio is None:
        raise NotAcceptable("the offer has no audio")
    agreed = _agreed(offer, payload_type, dtmf)
    audio.attributes["ptime"] = [str(agreed.ptime)]
    return serialize_sdp(answer), agreed


def read_answer(answer: SdpMessage | None) -> Audio:
    """What was agreed, from the other side's answer to our offer. Raises NotAcceptable."""
    if answer is None:
        raise NotAcceptable("the answer carries no session description")
    audio = answer.audio
    chosen = [codec.payload_type for codec in audio.codecs if codec.payload_type in G711] if audio else []
    if not chosen:
        raise NotAcceptable("the answer has no G.711 audio")
    return _agreed(answer, chosen[0], _dtmf_of(answer))


def make_offer(host: str, port: int, codecs: tuple[int, ...] = G711, direction: str = "sendrecv") -> str:
    """Our own offer of G.711 with telephone events, as text."""
    sdp = build_sdp(host, port, codecs[0], _NAMES[codecs[0]], dtmf_payload_type=DTMF_PAYLOAD_TYPE)
    audio = sdp.media[0]
    for codec in codecs[1:]:
        audio.formats.insert(-1, str(codec))
        audio.attributes["rtpmap"].append(f"{codec} {_NAMES[codec]}/8000")
    del audio.attributes["sendrecv"]
    audio.attributes[direction] = []
    # A later offer of the same session needs a higher version.
    sdp.origin.session_version = str(time.time_ns() // 1_000_000)
    return serialize_sdp(sdp)


_NAMES = {0: "PCMU", 8: "PCMA"}


def _dtmf_of(sdp: SdpMessage) -> int | None:
    codecs = sdp.audio.codecs if sdp.audio else []
    events = (c.payload_type for c in codecs if c.encoding_name.lower() == "telephone-event" and c.clock_rate == 8000)
    return next((pt for pt in events if 96 <= pt <= 127), None)


def _agreed(sdp: SdpMessage, payload_type: int, dtmf: int | None) -> Audio:
    remote, audio = sdp.rtp_address, sdp.audio
    if remote is None or audio is None or not 0 < remote[1] <= 65535 or not _is_ip(remote[0]):
        raise NotAcceptable("the session description has no address for audio")
    direction = audio.direction if _states(audio.attributes) or not _states(sdp.attributes) else _of(sdp.attributes)
    held = direction in ("sendonly", "inactive") or remote[0] == "0.0.0.0"
    return Audio(remote, payload_type, dtmf, _ptime(audio.attributes.get("ptime", [])), held)


def _is_ip(host: str) -> bool:
    # A name would be looked up by every packet sent, in the middle of the call.
    try:
        ipaddress.IPv4Address(host)
    except ValueError:
        return False
    return True


def _states(attributes: dict[str, list[str]]) -> bool:
    return bool({"sendrecv", "sendonly", "recvonly", "inactive"} & attributes.keys())


def _of(attributes: dict[str, list[str]]) -> str:
    return next(name for name in ("sendrecv", "sendonly", "recvonly", "inactive") if name in attributes)


def _ptime(values: list[str]) -> int:
    text = values[0].strip() if values else ""
    wanted = int(text) if text.isascii() and text.isdigit() and len(text) < 4 else 20
    return wanted if wanted in PTIMES else 20
