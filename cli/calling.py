"""A call from the command line: what is asked, the call itself, and how it went."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from cli.fault import CommandFailed
from local import probe, state
from local.conversation import Greeting, Speech, Transcribe, Turn, hear_greeting, take_turn
from local.measure import RATE
from local.models import sound, voice
from local.models.hearing import Ear
from local.models.speech import SpeechFailed
from local.phone.caller import Caller, CallFailed
from local.phone.outgoing import OutgoingCall
from local.phone.wav import NotAWav, read_wav, write_wav
from local.stack import reachable
from switchboard.number import normalise
from switchboard.settings import Settings

_ADDRESS = re.compile(r"sip:([^@\s<>\"]{1,64})@(\[[0-9A-Fa-f:]+\]|[A-Za-z0-9._-]+)(?::(\d{1,5}))?")
_NO_ANSWER = 408
# Of the voices at hand the one that is understood best through a telephone's 8 kHz.
CALLER_VOICE = "flite:rms"

Tell = Callable[[str], object]


@dataclass(frozen=True, slots=True)
class Line:
    """A SIP address to ring; `ours` when a stack here is meant."""

    address: str
    host: str
    port: int
    ours: bool

    @property
    def listen_on(self) -> str:
        return "127.0.0.1" if self.host in ("127.0.0.1", "localhost") else "0.0.0.0"


@dataclass(frozen=True, slots=True)
class Asked:
    """A call as it was asked for. `speeches` are texts, and a file last."""

    line: Line
    caller: str
    speeches: tuple[str | Path, ...]
    folder: Path | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a call went, as `--json` prints it."""

    answered_s: float | None = None
    greeting_s: float | None = None
    turns: tuple[Turn, ...] = ()
    recording: str | None = None
    call_id: str | None = None
    ended_by: str | None = None


class NotAnswered(Exception):
    """The line refused the call or let it ring; the text says which."""


def asked(
    settings: Settings, number: str, caller: str, texts: list[str], play: Path | None, record: Path | None
) -> Asked:
    """Reads what the user gave. Raises `CommandFailed` naming what is wrong with it."""
    line = _line(number, settings)
    if normalise(caller) is None:
        raise CommandFailed(f"--from {caller!r} is no phone number: write it like +15550109999.")
    if any(not text.strip() for text in texts):
        raise CommandFailed("--say is empty: give the words to say.")
    return Asked(line, _plain(caller), (*texts, *([play] if play else [])), _folder(record))


async def run(asked: Asked, tell: Tell) -> Outcome:
    """Makes the call, telling how it goes. Raises `CommandFailed`, and `NotAnswered` when the line was there."""
    speeches = [await _speech(one) for one in asked.speeches]
    line = asked.line
    there = await _answers(line)
    if line.ours and not there:
        raise CommandFailed(f"the line at {line.address} gives no answer: start it with `switchboard up`.")
    async with Ear() as ear, Caller(line.listen_on) as phone:
        try:
            call = await phone.dial(line.address, from_number=asked.caller)
        except ValueError as error:
            raise CommandFailed(str(error)) from None
        except CallFailed as failed:
            if failed.status == _NO_ANSWER and not there:
                raise CommandFailed(
                    f"nobody answers at {line.address}: check the address, or start that line."
                ) from None
            raise NotAnswered(f"{failed}.") from None
        return await _talk(call, speeches, _listener(ear), asked.folder, tell)


async def _talk(
    call: OutgoingCall, speeches: list[Speech], transcribe: Transcribe, folder: Path | None, tell: Tell
) -> Outcome:
    tell(f"Answered after {call.answered_s:.2f} s.")
    greeting = await hear_greeting(call, transcribe)
    tell(_greeting_line(greeting))
    turns: list[Turn] = []
    for speech in speeches:
        if call.ended.done():
            break
        tell(f"Caller: {speech.text}")
        turns.append(await take_turn(call, speech, transcribe))
        tell(_turn_line(turns[-1]))
    await call.hang_up()
    ended_by = call.ended.result()
    recording = _kept(call, folder)
    tell(f"Ended by the {ended_by}." + (f" Recording: {recording}" if recording else ""))
    return Outcome(round(call.answered_s, 3), greeting.after_s, tuple(turns), recording, call.call_id, ended_by)


def _greeting_line(greeting: Greeting) -> str:
    if greeting.after_s is None:
        return "Agent:  (says nothing)"
    return f"Agent:  {greeting.heard}  [{greeting.after_s:.2f} s after the answer]"


def _turn_line(turn: Turn) -> str:
    if turn.voice_to_voice_s is None:
        return "Agent:  (no reply)"
    note = ", spoke into the caller's words" if turn.interrupted else ""
    return f"Agent:  {turn.heard}  [{turn.voice_to_voice_s:.2f} s{note}]"


def _listener(ear: Ear) -> Transcribe:
    """Heard in this process, not by the models of the stack: the call being measured does not pay for it."""

    async def transcribe(samples: Any) -> str:
        return await ear.transcribe(sound.to_signal(samples), RATE)

    return transcribe


async def _speech(one: str | Path) -> Speech:
    """What will be said, as sound, made before the call so that it costs nothing during it."""
    try:
        if isinstance(one, Path):
            return Speech(one.name, read_wav(one))
        spoken = sound.to_signal(await voice.synthesise(one, CALLER_VOICE))
    except NotAWav as error:
        raise CommandFailed(f"--play: {error}") from None
    except (SpeechFailed, ValueError) as error:
        raise CommandFailed(f"--say: {error}") from None
    return Speech(one, np.ascontiguousarray(sound.to_samples(sound.resample(spoken, voice.RATE, RATE))))


def _line(number: str, settings: Settings) -> Line:
    if number.lower().startswith("sip:"):
        found = _ADDRESS.fullmatch(f"sip:{number[4:]}")
        port = int(found[3] or 5060) if found else 0
        if found is None or not 0 < port < 65536:
            raise CommandFailed(f"{number!r} is no SIP address: write sip:NUMBER@HOST or sip:NUMBER@HOST:PORT.")
        return Line(found[0], found[2], port, ours=False)
    if normalise(number) is None:
        raise CommandFailed(f"{number!r} is no phone number: write it like +15550100001, or give a sip: address.")
    running = state.current(settings.home.absolute())
    url = running.status.urls.sip if running else None
    url = url or f"sip:{reachable(settings.sip_host)}:{settings.sip_port}"
    host, _, port_text = url.removeprefix("sip:").rpartition(":")
    return Line(f"sip:{_plain(number)}@{host}:{port_text}", host, int(port_text), ours=True)


def _plain(number: str) -> str:
    return re.sub(r"[ ()./-]", "", number)


async def _answers(line: Line) -> bool:
    try:
        return await probe.sip_ok(line.port, line.host)
    except OSError:
        return False


def _folder(record: Path | None) -> Path | None:
    if record is None:
        return None
    try:
        record.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CommandFailed(f"--record {record} cannot be made ({error.strerror}): name a folder of yours.") from None
    return record


def _kept(call: OutgoingCall, folder: Path | None) -> str | None:
    if folder is None:
        return None
    name = call.call_id or datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    file = folder / f"{re.sub(r'[^A-Za-z0-9-]', '_', name)}.wav"
    write_wav(file, call.recording.stereo())
    return str(file)
