"""A recording that runs: who pauses it, what is made silent, what is on disk at its end."""

import time
from pathlib import Path

import pytest

from agent import mixer, recording, spool
from agent.recording import BROKE, DISK_HANGS, UNKNOWN
from switchboard import fact
from switchboard.recordings import Wanted
from tests.recording_trial import LOUD, Trial


@pytest.fixture
async def trial(tmp_path: Path) -> Trial:
    return Trial(tmp_path)


async def test_all_that_was_heard_is_on_disk_at_the_end(trial: Trial) -> None:
    await trial.hears(0.6)
    kept = await trial.kept()
    assert sum(kept) >= 5
    assert trial.report.kinds == ["RecordingEnded"]


async def test_the_part_of_an_agent_that_gives_way_is_no_end(trial: Trial) -> None:
    await trial.hears(0.3)
    assert any(await trial.kept(over=False))
    assert trial.report.kinds == []


async def test_two_who_pause_have_both_to_resume_but_an_operator_takes_the_ais_pause_back(trial: Trial) -> None:
    running = trial.running
    running.pause("ai")
    running.pause("operator")
    running.pause("operator")
    running.resume("ai")
    assert running.held_by("operator")
    running.pause("ai")
    running.resume("operator")
    assert not running.held_by("operator") and not running.held_by("ai")
    running.resume("ai")
    paused, resumed = "RecordingPaused", "RecordingResumed"
    assert trial.report.kinds == [
        *(f"{paused} ai", f"{paused} operator", f"{resumed} ai", f"{paused} ai"),
        *(f"{resumed} ai", f"{resumed} operator"),
    ]
    await trial.hears(0.4)
    assert sum(await trial.kept()) >= 3


async def test_a_pause_counts_from_when_it_was_asked_for(trial: Trial) -> None:
    await trial.hears(0.3)
    asked = time.time()
    await trial.hears(0.5)
    trial.running._wanted(Wanted(paused=True, at=asked).model_dump_json(), first=True)
    await trial.hears(0.3)
    assert 2 <= sum(await trial.kept()) <= 5
    [told] = [one for one in trial.report.told if isinstance(one, fact.RecordingPaused)]
    assert told.offset_s == pytest.approx(asked - trial.report.began.timestamp(), abs=0.05)


@pytest.mark.parametrize("text", ["", "nonsense", '{"paused": 7, "at": "x"}', '{"paused": true}'])
async def test_a_wish_that_cannot_be_read_changes_nothing(trial: Trial, text: str) -> None:
    trial.running._wanted(text, first=True)
    await trial.hears(0.3)
    assert any(await trial.kept()) and trial.report.kinds == ["RecordingEnded"]


async def test_what_was_resumed_before_an_agent_came_leaves_the_ais_pause(tmp_path: Path) -> None:
    trial = Trial(tmp_path, ["ai"])
    trial.running._wanted(Wanted(paused=False, at=time.time()).model_dump_json(), first=True)
    await trial.hears(0.3)
    assert trial.running.held_by("ai")
    assert not any(await trial.kept())


async def test_an_agent_that_comes_after_others_keeps_nothing_as_long_as_it_cannot_know_who_has_paused(
    tmp_path: Path,
) -> None:
    trial = Trial(tmp_path, attempt=2)
    await trial.hears(0.3)
    trial.running.pause("ai")
    trial.running.resume("ai")
    await trial.hears(0.2)
    assert not any(await trial.kept())
    assert fact.RecordingIncomplete(reason=UNKNOWN) in trial.report.told


async def test_keys_are_one_silence_around_them_as_long_as_they_take(trial: Trial) -> None:
    await trial.hears(0.3)
    trial.running.key()
    await trial.hears(0.5)
    trial.running.key()
    await trial.hears(0.2)
    assert not any(await trial.kept())
    assert trial.report.kinds == ["RecordingRedacted keys", "RecordingEnded"]
    [told] = [one for one in trial.report.told if isinstance(one, fact.RecordingRedacted)]
    assert told.seconds == pytest.approx(1.0 + 0.7, abs=0.1)


async def test_keys_with_time_between_them_are_two_silences(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "BEFORE_KEY_S", 0.1)
    monkeypatch.setattr(recording, "AFTER_KEY_S", 0.1)
    for _key in range(2):
        await trial.hears(0.3)
        trial.running.key()
    await trial.hears(0.5)
    kept = await trial.kept()
    told = [one for one in trial.report.told if isinstance(one, fact.RecordingRedacted)]
    assert [one.seconds for one in told] == [0.2, 0.2]
    assert kept[-1] and not all(kept)


@pytest.mark.parametrize(
    ("unread_s", "dictating", "hidden"),
    [(1.0, False, False), (4.0, False, True), (0.2, True, True), (None, True, False)],
)
async def test_what_may_be_a_card_number_when_the_call_ends_is_not_kept(
    trial: Trial, unread_s: float | None, dictating: bool, hidden: bool
) -> None:
    await trial.hears(0.4)
    now = time.monotonic()
    trial.ears.digits_since = now - 2.0 if dictating else None
    trial.ears.unread_since = None if unread_s is None else now - unread_s
    kept = await trial.kept()
    redacted = [one for one in trial.report.told if isinstance(one, fact.RecordingRedacted)]
    assert (not any(kept), bool(redacted)) == (hidden, hidden)


@pytest.mark.parametrize(
    ("unread_s", "dictating", "hidden"), [(2.0, False, False), (3.5, False, True), (0.2, True, True)]
)
async def test_what_was_said_and_could_not_be_read_is_silence(
    trial: Trial, unread_s: float, dictating: bool, hidden: bool
) -> None:
    await trial.hears(0.4)
    now = time.monotonic()
    trial.ears.digits_since = now - 4.0 if dictating else None
    trial.running.unread(now - unread_s, now)
    await trial.hears(0.4)
    kept = await trial.kept()
    assert (kept[-1], all(kept[-8:])) == (True, not hidden)
    assert ("RecordingRedacted card" in trial.report.kinds) == hidden


async def test_what_may_be_a_card_number_waits_until_it_is_known(trial: Trial) -> None:
    now, running = time.monotonic(), trial.running
    trial.ears.digits_since = now - 30.0
    assert running._old_enough() == pytest.approx(running._now() - 30.5, abs=0.1)
    trial.ears.unread_since = now - 40.0
    assert running._old_enough() == pytest.approx(running._now() - 40.5, abs=0.1)
    trial.ears.digits_since = None
    assert running._old_enough() == pytest.approx(running._now() - 40.5, abs=0.1)
    trial.ears.unread_since = now - 3_600.0
    assert running._old_enough() == pytest.approx(running._now() - 120.0, abs=0.1)
    trial.ears.unread_since = None
    assert running._old_enough() == pytest.approx(running._now() - 15.0, abs=0.1)
    await trial.kept()


async def test_a_clock_that_is_set_back_moves_no_silence(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    await trial.hears(0.3)
    said, real = time.monotonic(), time.time
    monkeypatch.setattr(time, "time", lambda: real() - 3_600.0)
    await trial.hears(0.3)
    trial.running.card(said)
    assert not any(await trial.kept())
    [told] = [one for one in trial.report.told if isinstance(one, fact.RecordingRedacted)]
    assert told.seconds == pytest.approx(0.8, abs=0.1)


async def test_a_fault_in_following_what_others_want_is_silence(
    trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken:
        async def get(self, _key: str) -> str:
            raise KeyError

        async def aclose(self) -> None:
            return

    await trial.hears(0.3)
    trial.running.follow(Broken(), trial.report.call_id)  # type: ignore[arg-type]
    await trial.hears(0.5)
    kept = await trial.kept()
    assert 2 <= sum(kept) <= 5 and not any(kept[-3:])
    assert trial.report.told[:2] == [fact.RecordingIncomplete(reason=why) for why in (BROKE, UNKNOWN)]


async def test_sound_that_nobody_takes_is_told_once_it_is_lost(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial.running, "_write", lambda _until: trial.running._over.wait())
    for _frame in range(mixer.MOST_FRAMES):
        trial.running.heard(LOUD[:64])
    assert trial.report.told == []
    for _frame in range(2):
        trial.running.heard(LOUD[:64])
    assert trial.report.told == [fact.RecordingIncomplete(reason=DISK_HANGS)]
    await trial.kept()


async def test_a_disk_that_takes_nothing_is_told_once(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "LEFT_FREE", 2**62)
    await trial.hears(0.3)
    await trial.running._write(trial.running._now())
    await trial.hears(0.3)
    assert await trial.kept() == []
    assert trial.report.kinds == ["RecordingIncomplete", "RecordingEnded"]
