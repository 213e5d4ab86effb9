"""The line at its wire: SIP peers that we did not write (sipp, baresip), and the bundled caller."""

import asyncio
import contextlib
import os
import random
import re
import shutil
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import numpy as np
import pytest

from local.phone.caller import Caller, CallFailed
from local.phone.line import Line
from local.phone.listen import first_sound, speech
from local.phone.outgoing import OutgoingCall
from local.phone.wav import read_wav, write_wav
from local.ports import free_port
from switchboard.call import call_id_of_sip
from switchboard.settings import Settings
from tests.livekit_server import LiveKitServer, livekit_server, stop
from tests.promises import promise
from tests.room_guest import Guests, eventually, guests, loudness

SIPP = Path(__file__).parent.parent / "sipp"
NUMBER = "+15550100001"

needs_sipp = pytest.mark.skipif(shutil.which("sipp") is None, reason="sipp is not installed")
needs_baresip = pytest.mark.skipif(shutil.which("baresip") is None, reason="baresip is not installed")


@pytest.fixture
async def server() -> AsyncIterator[LiveKitServer]:
    async with livekit_server() as running:
        yield running


def settings_for(server: LiveKitServer, **changes: object) -> Settings:
    given = {**server.environment(), "SIP_PORT": 0, "SIP_API_PORT": 0, **changes}
    return Settings(_env_file=None, **given)  # type: ignore[arg-type]


@contextlib.asynccontextmanager
async def a_line(server: LiveKitServer, **changes: object) -> AsyncIterator[Line]:
    async with Line(settings_for(server, **changes)) as line:
        yield line


def address(line: Line, number: str = NUMBER) -> str:
    return f"sip:{number}@127.0.0.1:{line.address[1]}"


def beep(hertz: int, seconds: float) -> "np.ndarray[tuple[int], np.dtype[np.int16]]":
    at = np.arange(int(8_000 * seconds))
    return (8_000 * np.sin(2 * np.pi * hertz * at / 8_000)).astype(np.int16)


async def run_sipp(
    line: Line, scenario: str, folder: Path, *, number: str = NUMBER, timeout: int = 20, options: tuple[str, ...] = ()
) -> str:
    """Plays one scenario; returns the messages sent and received. Fails when the scenario does."""
    messages = messages_of(folder)
    process = await asyncio.create_subprocess_exec(
        "sipp", f"127.0.0.1:{line.address[1]}", "-sf", SIPP / f"{scenario}.xml", "-s", number, "-m", "1",
        "-i", "127.0.0.1", "-p", str(free_port("udp")), "-mi", "127.0.0.1",
        "-mp", str(free_port("udp") // 2 * 2), "-nostdin", "-trace_msg", "-message_file", messages,
        "-timeout", f"{timeout}s", "-timeout_error", *options, cwd=folder,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    try:
        async with asyncio.timeout(timeout + 5):
            out, _ = await process.communicate()
    finally:
        await stop(process)
    text = messages.read_text() if messages.exists() else ""
    assert process.returncode == 0, f"{out.decode()[-1500:]}\n{text[-3000:]}"
    return text


def messages_of(folder: Path) -> Path:
    return folder / "messages.log"


def sent(messages: str, method: str) -> int:
    return len(re.findall(rf"^{method} sip:", messages, re.MULTILINE))


async def rooms_empty(party: Guests) -> bool:
    return not any([await party.callers(name) for name in await party.rooms()])


@promise("phone.answer")
async def test_a_call_is_answered_only_when_the_other_side_can_be_heard(server: LiveKitServer) -> None:
    ready = asyncio.Event()
    async with a_line(server) as line, guests(server, when=ready.is_set) as party, Caller() as caller:
        dialing = asyncio.create_task(caller.dial(address(line), headers={"X-Ticket": "42"}))
        await eventually(lambda: bool(party.waiting))
        room = party.waiting[0]
        callers = await party.callers(room)
        assert not dialing.done()
        attributes = dict(callers[0].attributes)
        ready.set()
        call = await dialing
        guest = await party.first()
        await eventually(lambda: guest.statuses[-1:] == ["active"])
        await call.hang_up()
        await eventually(guest.left.is_set)

        assert re.fullmatch(r"sip_\w{12}", callers[0].identity)
        assert re.fullmatch(r"call_\w{12}", room)
        assert callers[0].name == "Phone +15550109999"
        assert callers[0].kind == 3
        assert attributes["sip.callStatus"] == "ringing"
        assert attributes["sip.trunkPhoneNumber"] == NUMBER
        assert attributes["sip.phoneNumber"] == "+15550109999"
        assert attributes["sip.h.x-ticket"] == "42"
        assert set(attributes) >= {"sip.ruleID", "sip.trunkID", "sip.callIDFull", "sip.callTag", "sip.hostname"}
        assert re.fullmatch(r"SCL_\w{12}", attributes["sip.callID"])
        assert call.call_id == str(call_id_of_sip(attributes["sip.callID"]))
        assert guest.statuses == ["active", "hangup"]


@promise("phone.audio")
@pytest.mark.parametrize("codec", [0, 8], ids=["u-law", "a-law"])
async def test_both_sides_hear_each_other(server: LiveKitServer, codec: int) -> None:
    async with a_line(server) as line, guests(server, tone=440) as party, Caller() as caller:
        call = await caller.dial(address(line), codec=codec)
        assert await call.wait_speech(5)
        guest = await party.first()
        before = len(guest.heard)
        await call.speak(beep(1_000, 1.5))
        await eventually(lambda: len(guest.heard) > before + 170)
        await call.hang_up()
        heard = call.recording.stereo()[:, 1]
        assert loudness(heard[-8_000:], 440, 8_000) > 0.9
        assert loudness(guest.audio()[(before + 50) * 480 : (before + 130) * 480], 1_000, 48_000) > 0.9


@promise("phone.transport")
async def test_an_echo_comes_back_within_a_sixth_of_a_second(server: LiveKitServer) -> None:
    shortest = 1.0
    async with a_line(server) as line, guests(server, tone=None), Caller() as caller:
        # Load on the machine only ever adds: the way itself is no shorter than the shortest of a few calls.
        for _ in range(4):
            call = await caller.dial(address(line))
            shortest = min([shortest, *await echo_delays(call, beeps=4)])
            await call.hang_up()
            if shortest <= 0.16:
                break
    assert shortest <= 0.16


async def echo_delays(call: OutgoingCall, beeps: int) -> list[float]:
    packets = call.encode(beep(440, 0.3))
    silence = call.encode(np.zeros(4_800, dtype=np.int16))
    await call.speak(silence * 2)
    for _ in range(beeps):
        await call.speak(packets + silence)
    stereo = call.recording.stereo()
    said, heard = speech(stereo[:, 0]), speech(stereo[:, 1])
    delays = ([back.start - out.start for back in heard if out.start < back.start < out.start + 0.6] for out in said)
    return [found[0] for found in delays if found]


@promise("phone.keys")
async def test_pressed_keys_reach_the_room(server: LiveKitServer) -> None:
    async with a_line(server) as line, guests(server) as party, Caller() as caller:
        call = await caller.dial(address(line))
        guest = await party.first()
        await call.dtmf("12*#0D")
        await eventually(lambda: len(guest.digits) >= 6)
        await call.hang_up()
        assert guest.digits == list("12*#0D")


@promise("phone.bye")
async def test_a_deleted_room_ends_the_call_and_a_lost_agent_does_not(server: LiveKitServer) -> None:
    async with a_line(server) as line, guests(server) as party, Caller() as caller:
        call = await caller.dial(address(line))
        guest = await party.first()
        await guest.leave()
        received = call.port.last_arrival
        await eventually(lambda: call.port.last_arrival > received + 0.5)
        assert not call.ended.done()
        await party.delete(guest.name)
        async with asyncio.timeout(5):
            assert await call.ended == "agent"
        await eventually(lambda: line.calls == 0)


@promise("phone.hold")
async def test_a_held_call_is_silent_both_ways_and_resumes(server: LiveKitServer) -> None:
    async with a_line(server) as line, guests(server) as party, Caller() as caller:
        call = await caller.dial(address(line))
        guest = await party.first()
        assert await call.wait_speech(5)
        assert await call.hold() == 200
        assert await call.wait_silence(5, lasting=0.5)
        await eventually(lambda: guest.muted == [True])
        assert await call.resume() == 200
        resumed = call.last_sound
        assert await call.wait_speech(5, after=resumed)
        await eventually(lambda: guest.muted == [True, False])
        await call.hang_up()


@promise("phone.gone")
async def test_a_phone_that_vanished_is_hung_up_but_not_while_it_holds(
    server: LiveKitServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("local.phone.call.MEDIA_TIMEOUT_S", 1.0)
    async with a_line(server) as line, guests(server) as party, Caller() as caller:
        call = await caller.dial(address(line))
        guest = await party.first()
        await call.hold("inactive")
        call.sending = False
        heard = len(guest.heard)
        await eventually(lambda: len(guest.heard) > heard + 250)
        assert line.calls == 1
        await call.resume()
        await eventually(lambda: line.calls == 0)
        async with asyncio.timeout(5):
            assert await call.ended == "agent"


@promise("phone.process")
async def test_the_line_runs_as_a_process_and_says_how_it_is(server: LiveKitServer) -> None:
    sip, http = free_port("udp"), free_port()
    process = await phone_process(server, SIP_PORT=str(sip), SIP_API_PORT=str(http))
    try:
        async with aiohttp.ClientSession() as session, guests(server), Caller() as caller:
            await healthy(session, http)
            call = await caller.dial(f"sip:{NUMBER}@127.0.0.1:{sip}")
            assert await healthy(session, http) == {"status": "ok", "sip_port": sip, "calls": 1, "dropped": {}}
            process.terminate()
            async with asyncio.timeout(10):
                assert await call.ended == "agent"
                assert await process.wait() == 0
    finally:
        await stop(process)


@promise("phone.process.faults")
async def test_a_taken_port_or_missing_key_is_one_sentence(server: LiveKitServer) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = str(taken.getsockname()[1])
        for changes, names in (
            ({"SIP_PORT": port}, f"SIP_PORT {port}"),
            ({"LIVEKIT_API_KEY": ""}, "LIVEKIT_API_KEY"),
        ):
            process = await phone_process(server, SIP_API_PORT="0", **changes)
            try:
                async with asyncio.timeout(20):
                    _, said = await process.communicate()
            finally:
                await stop(process)
            assert process.returncode == 2
            assert names in said.decode().splitlines()[-1]


async def phone_process(server: LiveKitServer, **changes: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "local.phone",
        env={**os.environ, **server.environment(), "SWITCHBOARD_LOG_LEVEL": "warning", **changes},
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip


async def healthy(session: aiohttp.ClientSession, port: int) -> dict[str, object]:
    """The line's health, as soon as it tells one."""
    async with asyncio.timeout(20):
        while True:
            with contextlib.suppress(aiohttp.ClientError):
                async with session.get(f"http://127.0.0.1:{port}/health") as answer:
                    return dict(await answer.json())
            await asyncio.sleep(0.05)


@promise("phone.busy")
async def test_nobody_there_rings_and_then_is_busy(server: LiveKitServer) -> None:
    async with a_line(server, SIP_RINGING_TIMEOUT_S=1.5) as line, Caller() as caller:
        with pytest.raises(CallFailed) as failed:
            await caller.dial(address(line))
        assert failed.value.status == 486
        await eventually(lambda: line.calls == 0)


@promise("phone.unavailable")
async def test_without_livekit_the_caller_is_told_at_once(server: LiveKitServer) -> None:
    nowhere = f"ws://127.0.0.1:{free_port()}"
    async with a_line(server, LIVEKIT_URL=nowhere) as line, Caller() as caller:
        with pytest.raises(CallFailed) as failed:
            await caller.dial(address(line), timeout=15)
        assert failed.value.status == 503


@needs_sipp
@promise("phone.sip.retransmitted_invite")
async def test_a_retransmitted_invite_is_one_call(server: LiveKitServer, tmp_path: Path) -> None:
    def invited_three_times() -> bool:
        log = messages_of(tmp_path)
        return log.exists() and sent(log.read_text(), "INVITE") >= 3

    async with a_line(server) as line, guests(server, when=invited_three_times) as party:
        messages = await run_sipp(line, "retransmitted_invite", tmp_path, options=("-nr",))
        assert sent(messages, "INVITE") == 4
        assert len(set(re.findall(r"^To:.*;tag=(\w+)\r?$", messages, re.MULTILINE))) == 1
        assert len(party.all) == 1
        await eventually(lambda: line.calls == 0)


@needs_sipp
@promise("phone.sip.lost_answers")
async def test_lost_answers_are_sent_again_until_acknowledged(server: LiveKitServer, tmp_path: Path) -> None:
    def invited_again() -> bool:
        log = messages_of(tmp_path)
        return log.exists() and sent(log.read_text(), "INVITE") >= 2

    async with a_line(server) as line, guests(server, when=invited_again) as party:
        messages = await run_sipp(line, "lost_answers", tmp_path)
        before_ack, after_ack = messages.split("\nACK sip:", 1)
        answers = len(re.findall(r"^SIP/2.0 200 OK\r?$[^\0]*?^CSeq: 1 INVITE", before_ack, re.MULTILINE))
        assert before_ack.count("SIP/2.0 200 OK") >= 2, answers
        assert "1 INVITE" not in after_ack
        assert len(party.all) == 1
        await eventually(lambda: line.calls == 0)


@needs_sipp
@promise("phone.sip.cancel")
async def test_a_cancelled_call_leaves_the_room(server: LiveKitServer, tmp_path: Path) -> None:
    async with a_line(server) as line, guests(server, when=lambda: False) as party:
        await run_sipp(line, "cancel", tmp_path)
        await eventually(lambda: line.calls == 0)
        assert await rooms_empty(party)


@needs_sipp
@promise("phone.sip.reinvite")
async def test_every_reinvite_is_answered(server: LiveKitServer, tmp_path: Path) -> None:
    async with a_line(server) as line, guests(server):
        await run_sipp(line, "reinvite", tmp_path)
        await eventually(lambda: line.calls == 0)


@needs_sipp
@promise("phone.sip.refusals")
async def test_wrong_numbers_full_lines_and_silence_are_refused(server: LiveKitServer, tmp_path: Path) -> None:
    async with a_line(server, SIP_RINGING_TIMEOUT_S=2, SIP_MAX_CALLS=1) as line, Caller() as caller:
        await run_sipp(line, "malformed_number", tmp_path, number="front-desk")
        await run_sipp(line, "options", tmp_path)
        ringing = asyncio.create_task(caller.dial(address(line)))
        await eventually(lambda: line.calls == 1)
        await run_sipp(line, "full", tmp_path)
        with pytest.raises(CallFailed, match="486"):
            await ringing
        await eventually(lambda: line.calls == 0)
        await run_sipp(line, "ringing_limit", tmp_path)
        await eventually(lambda: line.calls == 0)


@promise("phone.sip.hostile")
async def test_hostile_packets_are_dropped_and_the_line_goes_on(server: LiveKitServer) -> None:
    async with a_line(server) as line, guests(server), Caller() as caller:
        call = await caller.dial(address(line))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as attacker:
            attacker.bind(("127.0.0.1", 0))
            for packet in hostile(random.Random(7), line.address[1], attacker.getsockname()[1]):
                attacker.sendto(packet, line.address)
                attacker.sendto(packet[:1_400], call.remote)
                await asyncio.sleep(0)  # the line runs in this very loop
        await eventually(lambda: line.dropped.get("malformed", 0) > 100)
        quiet_since = call.last_sound
        assert await call.wait_speech(5, after=quiet_since)
        await call.hang_up()
        again = await caller.dial(address(line))
        await again.hang_up()
        assert line.dropped.get("unhandled", 0) == 0


def hostile(rng: random.Random, port: int, back: int) -> list[bytes]:
    """Noise, half messages, and INVITEs with one part replaced by something that does not belong there."""
    invite = (
        f"INVITE sip:nobody@127.0.0.1:{port} SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:{back};rport;branch=z9hG4bKx\r\n"
        "From: <sip:x@127.0.0.1>;tag=a\r\nTo: <sip:nobody@127.0.0.1>\r\nCall-ID: evil\r\nCSeq: 1 INVITE\r\n"
        f"Contact: <sip:x@127.0.0.1:{back}>\r\nContent-Type: application/sdp\r\nContent-Length: 40\r\n\r\n"
        "v=0\r\nm=audio 99"
    ).encode()
    fillers = [
        b"",
        b"\x00",
        b"\xff" * 40,
        b"A" * 5_000,
        b";" * 300,
        b"<" * 300,
        b"\r\n",
        b"\r\n\r\n",
        b"%s%n",
        b"-1",
        b"9" * 30,
    ]
    packets = [bytes(rng.randbytes(rng.randrange(1, 1_500))) for _ in range(300)]
    packets += [invite[: rng.randrange(len(invite))] for _ in range(200)]
    for _ in range(1_000):
        start = rng.randrange(len(invite))
        packets.append(invite[:start] + rng.choice(fillers) + invite[start + rng.randrange(30) :])
    packets += [
        b"SIP/2.0 abc\r\n\r\n",
        b"SIP/2.0 200 OK\r\n\r\n",
        b"INVITE\r\n" * 500,
        b"Via: " * 9_000,
        b"\x80\x00" * 20,
    ]
    packets += [b"INVITE sip:1 SIP/2.0\r\n" + b"X-A: b\r\n" * 300 + b"\r\n", invite.replace(b"CSeq: 1", b"CSeq: 1e9")]
    return packets


@needs_baresip
@promise("phone.sip.baresip")
async def test_a_softphone_talks_both_ways(server: LiveKitServer, tmp_path: Path) -> None:
    write_wav(tmp_path / "say.wav", beep(1_000, 20))
    (tmp_path / "config").write_text(baresip_config(tmp_path))
    (tmp_path / "accounts").write_text("<sip:+15550107777@127.0.0.1>;regint=0;audio_codecs=pcmu\n")
    async with a_line(server) as line, guests(server, tone=440) as party:
        with (tmp_path / "baresip.log").open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                "baresip", "-s", "-f", tmp_path, "-e", f"/dial {address(line)}",
                stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log, cwd=tmp_path,
            )  # fmt: skip
        try:
            guest = await party.first(15)
            await eventually(lambda: len(guest.heard) > 300, 15)
            await party.delete(guest.name)
            await eventually(lambda: line.calls == 0)
        finally:
            await stop(process)
    assert loudness(guest.audio()[150 * 480 : 290 * 480], 1_000, 48_000) > 0.9
    received = read_wav(next(path for path in listed(tmp_path) if "dec" in path.name))
    assert first_sound(received) is not None
    assert loudness(received[8_000:16_000], 440, 8_000) > 0.9


def listed(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.wav"), key=lambda path: -path.stat().st_size)


def baresip_config(folder: Path) -> str:
    modules = "".join(f"module {name}.so\n" for name in ("g711", "aufile", "aubridge", "sndfile"))
    return (
        f"sip_listen 127.0.0.1:{free_port('udp')}\nmodule_path /usr/lib/baresip/modules\n{modules}"
        f"module_app account.so\nmodule_app menu.so\naudio_source aufile,{folder / 'say.wav'}\n"
        "audio_player aubridge,nowhere\naudio_alert aubridge,nowhere\n"
        f"ausrc_srate 8000\nauplay_srate 8000\nausrc_channels 1\nauplay_channels 1\n"
        f"snd_path {folder}\n"
    )


@promise("phone.many")
async def test_calls_at_once_each_have_their_own_room(server: LiveKitServer) -> None:
    async with a_line(server) as line, guests(server) as party, Caller() as caller:
        calls = await asyncio.gather(*(caller.dial(address(line), from_number=f"+1555010{n:04}") for n in range(4)))
        heard = await asyncio.gather(*(call.wait_speech(10) for call in calls))
        await asyncio.gather(*(call.hang_up() for call in calls))
        await eventually(lambda: line.calls == 0)
        assert heard == [True] * 4
        assert len({guest.name for guest in party.all}) == 4
        assert len({call.call_id for call in calls}) == 4
