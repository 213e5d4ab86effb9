"""A recording's file from its pieces: where each lies, what is between them, and any range of it."""

import io
import os
import random
import wave
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest
from structlog.testing import capture_logs

from agent import spool
from agent.spool import Head, Writer
from control.recordings.sound import NotThere, Sound, Span, asked
from switchboard import recording_store
from switchboard.recording_store import NoSuchPiece, RecordingStore, packed, unpacked
from switchboard.recordings import RATE, SPOOL, Piece, microseconds, recording_id
from switchboard.settings import Settings, SettingsError

BEGAN = microseconds(datetime(2026, 3, 2, 12, 0, tzinfo=UTC))


def noise(samples: int, seed: int = 1) -> bytes:
    return np.random.default_rng(seed).integers(-9_000, 9_000, samples * 2).astype("<i2").tobytes()


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name in list(os.environ):
        if name.startswith("SWITCHBOARD_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("SWITCHBOARD_HOME", str(tmp_path))
    return Settings.read(tmp_path / ".env")


@pytest.fixture
def store(settings: Settings) -> RecordingStore:
    return RecordingStore.of(settings)


async def whole(sound: Sound, store: RecordingStore, span: Span | None = None) -> bytes:
    return b"".join([some async for some in sound.read(store, span or Span(0, sound.size))])


def test_what_is_packed_is_unpacked_to_the_sample() -> None:
    for samples in (1, 999, RATE * 2 + 17):
        data = noise(samples)
        assert unpacked(packed(data), samples) == data
    assert unpacked(packed(bytes(400)), 200) == bytes(800)


async def test_pieces_lie_where_they_were_recorded_and_silence_between_them(store: RecordingStore) -> None:
    recording = uuid4()
    first, second = noise(RATE, 1), noise(RATE // 2, 2)
    await store.put(Piece(recording, BEGAN + 250_000, RATE), first)
    await store.put(Piece(recording, BEGAN + 3_000_000, RATE // 2), second)
    sound = Sound(await store.pieces(recording), BEGAN)
    data = await whole(sound, store)
    assert len(data) == sound.size
    with wave.open(io.BytesIO(data)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getnframes()) == (RATE, 2, RATE * 7 // 2)
        body = file.readframes(file.getnframes())
    assert body[:RATE] == bytes(RATE)
    assert body[RATE : RATE * 5] == first
    assert not any(body[RATE * 5 : RATE * 12])
    assert body[RATE * 12 :] == second


async def test_pieces_that_overlap_or_begin_too_early_shift_nothing(store: RecordingStore) -> None:
    recording = uuid4()
    await store.put(Piece(recording, BEGAN - 10, RATE), noise(RATE, 1))
    await store.put(Piece(recording, BEGAN + 900_000, RATE), noise(RATE, 2))
    sound = Sound(await store.pieces(recording), BEGAN)
    body = (await whole(sound, store))[44:]
    assert body[: RATE * 36 // 10] == noise(RATE, 1)[: RATE * 36 // 10]
    assert body[RATE * 36 // 10 :] == noise(RATE, 2)


async def test_where_pieces_overlap_the_later_one_is_heard_and_the_earlier_one_around_it(
    store: RecordingStore,
) -> None:
    recording = uuid4()
    # Of an agent that was replaced and heard nobody for three seconds, and of two that came after it.
    await store.put(Piece(recording, BEGAN, RATE * 4), noise(RATE * 4, 1))
    await store.put(Piece(recording, BEGAN + 1_000_000, RATE), noise(RATE, 2))
    await store.put(Piece(recording, BEGAN + 1_500_000, RATE), noise(RATE, 3))
    sound = Sound(await store.pieces(recording), BEGAN)
    second, data = RATE * 4, await whole(sound, store)
    body = data[44:]
    assert body[:second] == noise(RATE * 4, 1)[:second]
    assert body[second : second * 3 // 2] == noise(RATE, 2)[: second // 2]
    assert body[second * 3 // 2 : second * 5 // 2] == noise(RATE, 3)
    assert body[second * 5 // 2 :] == noise(RATE * 4, 1)[second * 5 // 2 :]
    for start, end in ((0, 100), (second, second * 2), (second * 2 + 1, second * 3 + 7)):
        assert await whole(sound, store, Span(start, end)) == data[start:end]


async def test_any_range_is_that_part_of_the_whole(store: RecordingStore) -> None:
    recording, dice = uuid4(), random.Random(3)
    for at, length in ((100_000, 5_000), (700_000, 8_000), (1_200_000, 100)):
        await store.put(Piece(recording, BEGAN + at, length), noise(length, at))
    sound = Sound(await store.pieces(recording), BEGAN)
    data = await whole(sound, store)
    for _try in range(200):
        start = dice.randrange(len(data))
        end = dice.randrange(start, len(data)) + 1
        assert await whole(sound, store, Span(start, end)) == data[start:end]


@pytest.mark.parametrize(
    ("header", "span"),
    [
        (None, None),
        ("", None),
        ("bytes=0-", Span(0, 1_000)),
        ("bytes=10-19", Span(10, 20)),
        (" bytes=999-5000 ", Span(999, 1_000)),
        ("bytes=-10", Span(990, 1_000)),
        ("bytes=-9999", Span(0, 1_000)),
        ("bytes=5-4", None),
        ("bytes=-", None),
        ("bytes=0-1,3-4", None),
        ("bytes=0x1-2", None),
        ("bytes=" + "9" * 30 + "-", None),
    ],
)
def test_a_range_header_is_read_or_passed_over(header: str | None, span: Span | None) -> None:
    assert asked(header, 1_000) == span


@pytest.mark.parametrize("header", ["bytes=1000-", "bytes=1000-1001", "bytes=-0"])
def test_a_range_beyond_the_end_is_told(header: str) -> None:
    with pytest.raises(NotThere):
        asked(header, 1_000)


async def test_a_recording_that_is_erased_leaves_nothing_and_no_other_one_changes(
    store: RecordingStore, settings: Settings
) -> None:
    gone, stays = uuid4(), uuid4()
    for recording in (gone, stays):
        await store.put(Piece(recording, BEGAN, 100), noise(100))
    (settings.home / "recordings" / str(gone) / "half.flac#1").write_bytes(b"x")
    assert await store.erase(gone) == 1
    assert await store.erase(gone) == 0
    assert await store.pieces(gone) == [] and len(await store.pieces(stays)) == 1
    assert set(await store.recordings()) == {stays}
    assert not (settings.home / "recordings" / str(gone)).exists()
    with pytest.raises(NoSuchPiece):
        await store.read(Piece(gone, BEGAN, 100))


async def test_files_that_are_none_of_ours_are_passed_over(store: RecordingStore, settings: Settings) -> None:
    (settings.home / "recordings" / "readme.txt").write_text("mine")
    assert await store.recordings() == {}


@pytest.mark.parametrize("damaged", [b"no sound", b""])
async def test_a_piece_that_is_damaged_is_silence_and_all_else_is_heard(
    store: RecordingStore, settings: Settings, damaged: bytes
) -> None:
    recording = uuid4()
    pieces = [Piece(recording, BEGAN + at * 1_000_000, RATE) for at in range(3)]
    for seed, piece in enumerate(pieces):
        await store.put(piece, noise(RATE, seed))
    (settings.home / "recordings" / pieces[1].key).write_bytes(damaged)
    with capture_logs() as logs:
        body = (await whole(Sound(pieces, BEGAN), store))[44:]
    assert body == noise(RATE, 0) + bytes(RATE * 4) + noise(RATE, 2)
    assert [(one["event"], one["piece"]) for one in logs] == [("recording_piece_damaged", pieces[1].key)]


async def test_installations_leave_their_marks(store: RecordingStore, settings: Settings) -> None:
    one, other = uuid4(), uuid4()
    for id in (one, other, one):
        await store.mark(id)
    assert await store.marks() == {one, other} and await store.recordings() == {}
    assert {path.stat().st_mode & 0o777 for path in (settings.home / "recordings" / "installations").iterdir()} == {
        0o600
    }


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"ENDPOINT": "http://127.0.0.1:9"}, "SWITCHBOARD_RECORDINGS_S3_ENDPOINT is set without"),
        ({"KEY": "k"}, "SWITCHBOARD_RECORDINGS_S3_KEY is set without SWITCHBOARD_RECORDINGS_S3_BUCKET: name"),
        ({"BUCKET": "b", "KEY": "k"}, "SWITCHBOARD_RECORDINGS_S3_SECRET is not set: key and secret go together"),
        ({"BUCKET": "b", "SECRET": "hidden"}, "SWITCHBOARD_RECORDINGS_S3_KEY is not set"),
    ],
)
def test_a_bucket_that_is_half_set_is_told_at_the_start(
    settings: Settings, given: dict[str, str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in given.items():
        monkeypatch.setenv(f"SWITCHBOARD_RECORDINGS_S3_{name}", value)
    with pytest.raises(SettingsError) as error:
        RecordingStore.of(Settings.read(settings.home / ".env"))
    assert said in str(error.value) and "hidden" not in str(error.value)


def test_a_folder_that_cannot_be_made_is_told_at_the_start(settings: Settings) -> None:
    (settings.home / recording_store.FOLDER).write_text("in the way")
    with pytest.raises(SettingsError, match="cannot be made for recordings"):
        RecordingStore.of(settings)


@pytest.fixture
def head() -> Head:
    call = uuid4()
    return Head(recording=recording_id(call), call_id=call, conversation_id="c", start_us=BEGAN)


def test_sound_waits_in_files_of_a_minute_that_nobody_takes_as_they_are_written(tmp_path: Path, head: Head) -> None:
    writer = Writer(tmp_path, head)
    for second in range(61):
        writer.write(RATE * (second + 3), noise(RATE, second))
    paths = [file.path for file in spool.waiting(tmp_path)]
    assert len(paths) == 2 and {path.stat().st_mode & 0o777 for path in paths} == {0o600}
    taken = []
    for _round in range(2):
        for file in spool.waiting(tmp_path):
            with spool.claimed(file.path) as found:
                if found is not None:
                    taken.append(found)
                    spool.done(file.path)
        writer.close()
    assert [one.piece for one in taken] == [
        Piece(head.recording, BEGAN + 3_000_000, RATE * 60),
        Piece(head.recording, BEGAN + 63_000_000, RATE),
    ]
    assert taken[1].sound == noise(RATE, 60)
    assert list((tmp_path / SPOOL).iterdir()) == []


def test_minutes_at_once_are_files_that_are_read_whole(tmp_path: Path, head: Head) -> None:
    writer = Writer(tmp_path, head)
    writer.write(0, noise(RATE))
    writer.write(RATE, bytes(RATE * 4 * 300))
    writer.close()
    samples = 0
    for file in spool.waiting(tmp_path):
        with spool.claimed(file.path) as found:
            assert found is not None
            samples += found.piece.samples
    assert samples == RATE * 301


def test_a_hole_begins_a_new_file(tmp_path: Path, head: Head) -> None:
    writer = Writer(tmp_path, head)
    writer.write(0, noise(RATE))
    writer.write(RATE * 5, noise(RATE))
    writer.close()
    starts = []
    for file in spool.waiting(tmp_path):
        with spool.claimed(file.path) as found:
            assert found is not None
            starts.append(found.piece.start_us - BEGAN)
    assert sorted(starts) == [0, 5_000_000]


def test_a_disk_that_is_nearly_full_takes_no_more(
    tmp_path: Path, head: Head, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = Writer(tmp_path, head)
    monkeypatch.setattr(spool, "LEFT_FREE", 2**62)
    with pytest.raises(OSError, match="No space left"):
        writer.write(0, noise(RATE))
    monkeypatch.setattr(spool, "LEFT_FREE", 0)
    monkeypatch.setattr(spool, "MOST_BYTES", -1)
    with pytest.raises(OSError, match="recordings_wait"):
        writer.write(0, noise(RATE))
    assert list((tmp_path / SPOOL).iterdir()) == []
    monkeypatch.setattr(spool, "MOST_BYTES", 2**40)
    writer.write(RATE, noise(RATE))
    writer.close()
    assert len(spool.waiting(tmp_path)) == 1


def test_a_file_that_was_cut_short_gives_its_whole_samples_and_nonsense_is_told(tmp_path: Path, head: Head) -> None:
    writer = Writer(tmp_path, head)
    writer.write(0, noise(100))
    writer.close()
    path = spool.waiting(tmp_path)[0].path
    path.write_bytes(path.read_bytes()[:-3])
    with spool.claimed(path) as found:
        assert found is not None and found.piece.samples == 99
    path.write_bytes(b"nonsense\n" + bytes(50))
    with pytest.raises(spool.Unreadable), spool.claimed(path):
        pass
