"""Recordings of calls, with a real LiveKit server, agent and control; the test is the phone."""

import asyncio
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytest_asyncio

from switchboard.recordings import RATE
from tests.browser import signed_in, user
from tests.promises import promise
from tests.recorded_calls import (
    BEHIND_S,
    LOUD,
    Samples,
    Site,
    recording_id_of,
    site,
    spans,
    started,
    told,
    tone,
)
from tests.room_guest import eventually
from tests.s3_server import S3Server, s3_server

pytestmark = pytest.mark.asyncio(loop_scope="module")

# What a sound takes from the phone to the agent, and back: both are heard where they were, as the agent hears them.
WAY_S = 0.1
EXACT_S = 0.05
CARD = "4111 1111 1111 1111"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def calls() -> AsyncIterator[Site]:
    async with site() as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module", autouse=True)
async def _fresh_script(request: pytest.FixtureRequest) -> None:
    if "calls" in request.fixturenames:
        running: Site = request.getfixturevalue("calls")
        await running.agent.forget_script()


def silent(sound: Samples, start: float, end: float) -> bool:
    return not sound[round(start * RATE) : round(end * RATE)].any()


def starts(channel: Samples, hole_s: float = 0.12) -> list[float]:
    return [start for start, _end in spans(channel, hole_s=hole_s)]


@promise("recording.placed")
@pytest.mark.timed
async def test_both_sides_are_in_the_file_where_they_were_said(calls: Site) -> None:
    phone, heard = await calls.greeted(recording_disclosure="We keep this call.")
    for pause_s in (0.3, 0.8, 1.7):
        await asyncio.sleep(pause_s)
        await phone.play(tone(0.25))
    await phone.type("What time is breakfast?")
    events = await calls.until_event(phone, "item", times=4)
    await eventually(lambda: not phone.hears())
    recording = await calls.ended(phone)
    sound, zero = await calls.wav(phone), started(recording)
    late = [start + zero - at for start, at in zip(starts(sound[:, 0]), phone.sent, strict=True)]
    assert all(-EXACT_S < one < WAY_S for one in late) and max(late) - min(late) < EXACT_S
    onsets = heard.onsets()
    ours = starts(sound[:, 1], hole_s=0.5)
    assert len(ours) == len(onsets)
    assert all(-EXACT_S < at - zero - start < WAY_S for at, start in zip(onsets, ours, strict=True))
    items = [one["body"] for one in events if one["kind"] == "item"]
    assert items[0]["item"]["content"][0]["text"] == "We keep this call."
    spoken = [one["offset_s"] for one in items if one["item"]["role"] == "assistant"]
    assert (ours[0], ours[-1]) == pytest.approx((spoken[0], spoken[-1]), abs=EXACT_S)
    lines = (await calls.control.request("GET", f"/calls/{phone.call_id}")).body["transcript"]
    assert [one["offset_s"] for one in lines] == [one["offset_s"] for one in items]
    assert recording["duration_s"] == pytest.approx(len(sound) / RATE, abs=0.01)
    assert recording["duration_s"] == pytest.approx(time.time() - zero, abs=60)


@promise("recording.interrupted")
async def test_of_an_interrupted_reply_only_what_was_heard_is_recorded(calls: Site) -> None:
    await calls.agent.script("reply", {"text": " ".join(["This is a long reply that goes on and on."] * 8)})
    phone, heard = await calls.greeted()
    await phone.type("Tell me something long.")
    await eventually(lambda: bool(phone.hears()), 20)
    await asyncio.sleep(1.5)
    before = time.time()
    await calls.agent.say(phone, "Stop, that is enough for me, thank you very much.")
    await calls.until_event(phone, "interrupted")
    recording = await calls.ended(phone)
    sound, zero = await calls.wav(phone), started(recording)
    quiet = [at for at, loud in zip(heard.at, heard.loud, strict=True) if loud and at > before]
    last_heard = max((at for at in quiet if at < before + 2.0), default=before)
    spoken = [end for _start, end in spans(sound[:, 1], hole_s=0.5) if end + zero < before + 2.5]
    assert max(spoken) + zero == pytest.approx(last_heard, abs=0.12)


@promise("recording.off")
async def test_nothing_is_recorded_unless_the_persona_says_so(calls: Site) -> None:
    phone, _heard = await calls.greeted(record=False)
    await phone.play(tone(0.3))
    await phone.hang_up()
    events = await calls.until_event(phone, "call_ended")
    assert not [one for one in events if one["kind"].startswith("recording_")]
    assert await calls.shown(phone) == {}
    home = calls.control.home
    assert not [path for path in home.rglob("*") if recording_id_of(phone) in str(path)]
    assert (await calls.raw(phone))[0] == 404


@promise("recording.announced")
@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "This call is recorded."),
        ({"disclosure": "I am an AI."}, "I am an AI. This call is recorded."),
        ({"disclosure": "I am an AI and record you.", "recording_disclosure": ""}, "I am an AI and record you."),
        ({"recording_disclosure": ""}, "This call is recorded."),
    ],
)
async def test_a_caller_is_told_before_all_else(calls: Site, given: dict[str, str], said: str) -> None:
    phone, _heard = await calls.greeted(**given)
    events = await calls.until_event(phone, "item")
    first = next(one["body"] for one in events if one["kind"] == "item")
    assert first["item"]["content"][0]["text"] == said
    await calls.ended(phone)


@promise("recording.killed")
@pytest.mark.timed
async def test_a_killed_agent_leaves_what_was_heard_and_the_next_one_goes_on_in_its_place(calls: Site) -> None:
    phone, _heard = await calls.greeted()
    await phone.play(tone(0.4))
    await asyncio.sleep(BEHIND_S)
    killed = time.time()
    calls.kill(phone)
    await calls.send(phone, 2)
    await calls.until_event(phone, "recording_started", times=2)
    await asyncio.sleep(1.0)
    await phone.play(tone(0.4))
    recording = await calls.ended(phone, "incomplete")
    assert recording["missing"] == "an agent was lost"
    sound, zero = await calls.wav(phone), started(recording)
    for at in phone.sent:
        near = [start + zero for start in starts(sound[:, 0]) if abs(start + zero - at) < 0.5]
        assert near and -EXACT_S < near[0] - at < WAY_S
    hole = np.flatnonzero(sound[:, 0][: round((killed - zero) * RATE)])[-1] / RATE
    assert killed - zero - hole < BEHIND_S + 0.5


@promise("recording.paused")
async def test_an_operator_pauses_and_resumes_and_the_time_is_kept(calls: Site) -> None:
    phone, _heard = await calls.greeted()
    path = f"/calls/{phone.call_id}/recording"
    await phone.play(tone(0.3))
    paused = await calls.control.request("POST", f"{path}/pause")
    assert (paused.status, paused.body["state"], paused.body["paused_by"]) == (200, "paused", ["operator"])
    again = await calls.control.request("POST", f"{path}/pause")
    assert (again.status, again.body["state"]) == (200, "paused")
    await phone.play(tone(0.5))
    resumed = await calls.control.request("POST", f"{path}/resume")
    assert (resumed.status, resumed.body["state"]) == (200, "recording")
    await phone.play(tone(0.3))
    recording = await calls.ended(phone)
    sound = await calls.wav(phone)
    first, last = spans(sound[:, 0])
    assert -EXACT_S < last[0] + started(recording) - phone.sent[-1] < WAY_S
    events = await calls.events(phone)
    pauses = {one["kind"]: one["body"]["offset_s"] for one in events if one["kind"] in PAUSES}
    assert silent(sound, pauses["recording_paused"] + 0.001, pauses["recording_resumed"] - 0.001)
    assert first[1] <= pauses["recording_paused"] + 0.01 and last[0] >= pauses["recording_resumed"] - 0.01
    late = await calls.control.request("POST", f"{path}/pause")
    assert (late.status, late.body["code"]) == (409, "conflict")


PAUSES = ("recording_paused", "recording_resumed")


@promise("recording.paused_again")
async def test_a_pause_holds_for_the_agent_that_comes_after(calls: Site) -> None:
    phone, _heard = await calls.greeted()
    assert (await calls.control.request("POST", f"/calls/{phone.call_id}/recording/pause")).status == 200
    calls.kill(phone)
    await calls.send(phone, 2)
    await calls.until_event(phone, "recording_started", times=2)
    await phone.play(tone(0.5))
    recording = await calls.ended(phone, "incomplete")
    assert recording["paused_by"] == ["operator"]
    sound = await calls.wav(phone)
    assert not np.abs(sound[:, 0]).max() > LOUD


@promise("recording.tool")
async def test_the_ai_pauses_it_when_it_is_asked_to(calls: Site) -> None:
    await calls.agent.script("reply", {"tool_calls": [{"name": "pause_recording", "arguments": {}}]})
    phone, _heard = await calls.greeted()
    await phone.type("Please stop recording for a moment.")
    await calls.until_event(phone, "recording_paused")
    await calls.agent.script("reply", {"text": "It is off."})
    await phone.play(tone(0.5))
    await calls.agent.script("reply", {"tool_calls": [{"name": "resume_recording", "arguments": {}}]})
    await phone.type("Go on recording.")
    await calls.until_event(phone, "recording_resumed")
    await phone.play(tone(0.3))
    await calls.ended(phone)
    assert len(spans((await calls.wav(phone))[:, 0])) == 1


@promise("recording.cards")
async def test_a_card_number_is_in_no_text_and_in_no_sound(calls: Site) -> None:
    phone, _heard = await calls.greeted()
    await phone.play(tone(0.3))
    began = time.time()
    await calls.agent.say(phone, f"My card number is {CARD}.")
    events = await calls.until_event(phone, "recording_redacted")
    ended = time.time()
    await calls.until_event(phone, "item", times=3)
    for key in CARD.replace(" ", ""):
        await phone.room.local_participant.publish_dtmf(code=int(key), digit=key)
    events = await calls.until_event(phone, "dtmf", times=16)
    await phone.type(f"The card again: {CARD.replace(' ', '-')}")
    events = await calls.until_event(phone, "item", times=7)
    recording = await calls.ended(phone)
    sound, zero = await calls.wav(phone), started(recording)
    assert silent(sound, began - zero + 0.2, ended - zero - 0.5)
    assert len([start for start in starts(sound[:, 0]) if start < began - zero]) == 1
    said = told(events)
    assert said.count("[card number]") >= 3
    assert {one["body"]["digit"] for one in events if one["kind"] == "dtmf"} == {"x"}
    # Spelled in any way, in facts, files of facts and logs.
    assert not re.search(r"1[\W_]*1[\W_]*1[\W_]*1[\W_]*1[\W_]*1[\W_]*1", said)
    assert not re.search(r"4111[ -]?1111", calls.everything_written())


@promise("recording.ranges")
async def test_a_player_asks_for_ranges(calls: Site) -> None:
    phone, _heard = await calls.greeted()
    recording = await calls.ended(phone)
    status, whole, headers = await calls.raw(phone)
    assert (status, headers["Accept-Ranges"], headers["Content-Type"]) == (200, "bytes", "audio/wav")
    size, etag = len(whole), headers["ETag"]
    assert size == int(headers["Content-Length"]) == 44 + round(recording["duration_s"] * RATE) * 4
    for asked, part in {
        "bytes=0-99": slice(0, 100),
        "bytes=40-50": slice(40, 51),
        "bytes=70001-140000": slice(70_001, 140_001),
        "bytes=-7": slice(size - 7, size),
        f"bytes={size - 3}-": slice(size - 3, size),
        f"bytes=10-{size * 2}": slice(10, size),
    }.items():
        status, some, headers = await calls.raw(phone, Range=asked)
        assert (status, some) == (206, whole[part]), asked
        assert headers["Content-Range"] == f"bytes {part.start}-{part.stop - 1}/{size}"
        assert int(headers["Content-Length"]) == len(some)
    for refused in (f"bytes={size}-", "bytes=-0"):
        status, some, headers = await calls.raw(phone, Range=refused)
        assert (status, headers["Content-Range"]) == (416, f"bytes */{size}")
    for ignored in ("bytes=9-3", "bytes=a-b", "lines=1-2", "bytes=0-1,5-6", "bytes=-"):
        assert (await calls.raw(phone, Range=ignored))[:2] == (200, whole)
    assert (await calls.raw(phone, **{"Range": "bytes=0-9", "If-Range": etag}))[0] == 206
    assert (await calls.raw(phone, **{"Range": "bytes=0-9", "If-Range": '"older"'}))[:2] == (200, whole)
    head = await calls.control.request("HEAD", calls.audio(phone))
    assert (head.status, head.headers["Content-Length"], head.headers["ETag"]) == (200, str(size), etag)


@promise("recording.listeners")
async def test_only_who_may_listen_hears_and_each_listening_is_on_record(calls: Site) -> None:
    phone, _heard = await calls.greeted()
    await calls.ended(phone)
    hears, deaf = [
        await signed_in(calls.control, (await user(calls.control, name, role, may_listen=may))["id"])
        for name, role, may in (("ear-viewer", "viewer", True), ("deaf-admin", "admin", False))
    ]
    for method in ("GET", "HEAD"):
        assert (await deaf.ask(method, calls.audio(phone))).status == 403
    for _range in range(3):
        assert (await hears.ask("GET", calls.audio(phone), headers={"Range": "bytes=0-43"})).status == 206
    subject = recording_id_of(phone)
    audit = (await calls.control.request("GET", f"/audit?action=recording.listened&subject={subject}")).body["audit"]
    assert [one["actor"] for one in audit] == ["user:ear-viewer"]
    assert (await hears.ask("DELETE", f"/recordings/{subject}")).status == 403
    gone = await deaf.ask("DELETE", f"/recordings/{subject}")
    assert gone.status == 204
    assert (await hears.ask("GET", calls.audio(phone))).status == 404
    shown = await calls.shown(phone)
    assert (shown["state"], shown["bytes"]) == ("deleted", 0)
    assert not (calls.control.home / "recordings" / subject).exists()


@promise("recording.files")
async def test_files_are_for_their_owner_alone_and_say_nothing(calls: Site) -> None:
    phone, _heard = await calls.greeted()
    await calls.ended(phone)
    folder = calls.control.home / "recordings"
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files and {path.stat().st_mode & 0o777 for path in files} == {0o600}
    assert folder.stat().st_mode & 0o777 == 0o700
    assert not [path for path in files if phone.call_id in str(path) or "1555" in path.name]
    assert not list((calls.control.home / "unshipped").glob("*"))


@promise("recording.redis_away")
async def test_with_redis_away_a_pause_is_refused_and_the_recording_goes_on(calls: Site) -> None:
    # Late here: what others recorded may be told again afterwards.
    phone, _heard = await calls.greeted()
    await calls.control.redis.stop()
    answer = await calls.control.request("POST", f"/calls/{phone.call_id}/recording/pause")
    assert (answer.status, answer.body["code"]) == (503, "unavailable")
    await phone.play(tone(0.4))
    await calls.control.redis.start()
    await calls.ended(phone)
    assert len(spans((await calls.wav(phone))[:, 0])) == 1


@promise("recording.s3")
async def test_a_bucket_that_is_away_is_filled_when_it_is_back(tmp_path: Path) -> None:
    server: S3Server = s3_server(tmp_path)
    async with site(**server.settings) as calls:
        phone, _heard = await calls.greeted()
        await phone.play(tone(0.4))
        shown = await calls.ended(phone, "storing")
        assert shown["bytes"] == 0
        assert (await calls.raw(phone))[0] == 503
        [waiting] = (calls.control.home / "unshipped").iterdir()
        assert waiting.stat().st_mode & 0o777 == 0o600
        with server.running():
            shown = await calls.until_state(phone, "complete", 60)
            assert len(spans((await calls.wav(phone))[:, 0])) == 1
            assert [name.partition("/")[0] for name in server.names()] == [shown["recording_id"]]
            status, some, _headers = await calls.raw(phone, Range="bytes=44-47")
            assert (status, len(some)) == (206, 4)
            assert (await calls.control.request("DELETE", f"/recordings/{shown['recording_id']}")).status == 204
            assert server.names() == []
        assert not list((calls.control.home / "recordings").glob("*/*"))
        assert "secret-of-tests" not in calls.everything_written()


@promise("recording.disk")
async def test_a_folder_that_cannot_be_written_costs_the_recording_and_not_the_call(calls: Site) -> None:
    phone, _heard = await calls.greeted()
    folder = calls.control.home / "unshipped"
    aside: Any = folder.rename(folder.with_name("aside")) if folder.exists() else None
    folder.write_text("in the way")
    try:
        await phone.hang_up()
        shown = await calls.until_state(phone, "incomplete")
    finally:
        folder.unlink()
        if aside is not None:
            aside.rename(folder)
    assert shown["missing"] not in (None, "an agent was lost")
    ended = await calls.until_event(phone, "call_ended")
    assert [one["body"]["reason"] for one in ended if one["kind"] == "call_ended"] == ["caller_hung_up"]
