from collections.abc import AsyncIterator, Sequence

import numpy as np
import pytest
from livekit import rtc

from agent import speech
from agent.mouth import Spoken, heard

RATE = 24_000


async def _tokens(text: str) -> AsyncIterator[str]:
    for word in text.split(" "):
        yield word + " "


async def _clauses(text: str) -> list[str]:
    return [clause async for clause in speech.clauses(_tokens(text))]


async def test_the_first_clause_comes_before_the_sentence_is_whole() -> None:
    found = await _clauses(
        "Breakfast is served until ten, and until eleven on weekends. Shall I take a message for you?"
    )
    assert found[0] == "Breakfast is served until ten,"
    assert " ".join(found).startswith("Breakfast is served until ten, and until eleven on weekends.")


@pytest.mark.parametrize("text", ["We open at 8 a.m. on Monday", "It costs 3.50 today", "Ask Dr. Who about it"])
async def test_an_abbreviation_or_a_price_ends_no_clause(text: str) -> None:
    assert await _clauses(text) == [text]


async def test_no_word_is_lost_or_said_twice() -> None:
    text = "One two three, four five six seven eight nine. " * 12 + "word " * 200
    assert " ".join(await _clauses(text)).split() == text.split()


def _frame(samples: Sequence[int]) -> rtc.AudioFrame:
    data = np.asarray(samples, dtype=np.int16).tobytes()
    return rtc.AudioFrame(data, RATE, 1, len(data) // 2)


async def _trimmed(frames: list[rtc.AudioFrame]) -> np.ndarray[tuple[int], np.dtype[np.int16]]:
    async def stream() -> AsyncIterator[rtc.AudioFrame]:
        for frame in frames:
            yield frame

    out = [bytes(frame.data) async for frame in speech.without_leading_silence(stream())]
    return np.frombuffer(b"".join(out), dtype=np.int16)


@pytest.mark.parametrize("size", [100, 480, 2_400, 50_000])
async def test_leading_silence_goes_and_every_audible_sample_stays(size: int) -> None:
    samples = [0] * 5_520 + [3_000] * 4_800 + [0] * 3_000 + [2_000] * 2_400 + [0] * 9_600
    frames = [_frame(samples[at : at + size]) for at in range(0, len(samples), size)]
    out = await _trimmed(frames)
    begin = int(np.flatnonzero(out)[0])
    assert begin <= RATE * 0.021
    assert list(out[begin : begin + 10_200]) == samples[5_520 : 5_520 + 10_200]
    assert len(out) <= 10_200 + RATE * (0.021 + 0.151)


async def test_silence_alone_is_nothing() -> None:
    assert len(await _trimmed([_frame([0] * 4_800)] * 3)) == 0


def test_pronunciations_replace_whole_words_only() -> None:
    assert speech.pronounced("Quay Street, quay, Quayside", {"quay": "key"}) == "key Street, key, Quayside"


def test_what_was_heard_of_an_interrupted_reply_is_known_by_its_clauses() -> None:
    script = [Spoken("Breakfast is served until ten,", 2.0), Spoken("and until eleven on weekends.", 2.0)]
    assert heard(script, 2.0) == "Breakfast is served until ten,"
    assert heard(script, 3.2) == "Breakfast is served until ten, and until eleven"
    assert heard(script, 0.0) == ""
