"""The scripted models as a process."""

import asyncio
import base64
import json
import os
import sys
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import numpy as np
import pytest

from local.models import flite, sound, timing, voice
from local.models.script import DEFAULT_REPLY
from tests.models_process import running
from tests.promises import promise

LATE_S = 0.08  # what a busy machine may add


@pytest.fixture
async def models() -> AsyncIterator[str]:
    async with running("local.models.scripted") as url:
        yield url


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def tell(http: aiohttp.ClientSession, url: str, what: str, body: object) -> int:
    async with http.post(f"{url}/scripted/{what}", json=body) as answer:
        return answer.status


async def hear(http: aiohttp.ClientSession, url: str, samples: sound.Samples) -> tuple[str, float]:
    form = aiohttp.FormData()
    form.add_field("file", sound.write_wav(samples, voice.RATE), filename="a.wav", content_type="audio/wav")
    asked = time.monotonic()
    async with http.post(f"{url}/v1/audio/transcriptions", data=form) as answer:
        text = (await answer.json())["text"]
    return text, time.monotonic() - asked


async def think(http: aiohttp.ClientSession, url: str) -> list[tuple[float, dict[str, Any]]]:
    """The chunks of a streamed reply, each with the seconds since it was asked for."""
    tools = [{"type": "function", "function": {"name": "end_call", "parameters": {}}}]
    body = {"messages": [{"role": "user", "content": "Hello"}], "tools": tools, "stream": True}
    asked = time.monotonic()
    async with http.post(f"{url}/v1/chat/completions", json=body) as answer:
        return [
            (time.monotonic() - asked, json.loads(line[6:])["choices"][0])
            async for line in answer.content
            if line.startswith(b"data: {")
        ]


@pytest.mark.skipif(not flite.binary(), reason="flite is not installed")
@promise("scripted.heard")
async def test_it_hears_the_true_words_also_early_and_nothing_else(models: str, http: aiohttp.ClientSession) -> None:
    spoken = await timing.speak("I would like to book a table for two people.")
    entry = {
        "text": spoken.text,
        "wav_base64": base64.b64encode(sound.write_wav(spoken.samples, voice.RATE)).decode(),
        "words": [[word.text, word.end_s] for word in spoken.words],
    }
    assert await tell(http, models, "utterances", {"utterances": [entry]}) == 200
    text, took = await hear(http, models, spoken.samples)
    assert text == spoken.text
    assert 0.15 <= took <= 0.15 + LATE_S
    early = spoken.samples[: round(spoken.words[4].end_s * voice.RATE)]
    assert (await hear(http, models, early))[0] == "I would like to book"
    noise = np.random.default_rng(1).normal(0, 3_000, voice.RATE // 2).astype(np.int16)
    assert (await hear(http, models, noise))[0] == ""


@promise("scripted.times")
async def test_it_thinks_and_speaks_in_its_times(models: str, http: aiohttp.ClientSession) -> None:
    chunks = await think(http, models)
    words = [(at, choice["delta"]["content"]) for at, choice in chunks if choice["delta"].get("content")]
    assert "".join(word for _, word in words) == DEFAULT_REPLY
    assert 0.2 <= words[0][0] <= 0.2 + LATE_S
    assert words[-1][0] - words[0][0] == pytest.approx(0.01 * (len(words) - 1), abs=LATE_S)
    body = {"input": "Good morning.", "voice": "nova", "response_format": "pcm"}
    for _ in range(2):
        asked = time.monotonic()
        async with http.post(f"{models}/v1/audio/speech", json=body) as answer:
            samples = np.frombuffer(await answer.read(), "<i2")
        took = time.monotonic() - asked
    assert 0.1 <= took <= 0.1 + LATE_S
    assert int(timing.active(samples, voice.RATE)[0]) == pytest.approx(23, abs=2)


@promise("scripted.reply")
async def test_it_says_what_it_is_told_and_calls_the_tools_it_is_offered(
    models: str, http: aiohttp.ClientSession
) -> None:
    assert await tell(http, models, "times", {"first_token_ms": 0, "token_ms": 0}) == 200
    assert await tell(http, models, "reply", {"tool_calls": [{"name": "end_call", "arguments": {}}]}) == 200
    last = (await think(http, models))[-1][1]
    assert last["finish_reason"] == "tool_calls"
    assert await tell(http, models, "reply", {"text": "Yes."}) == 200
    assert (await think(http, models))[1][1]["delta"] == {"content": "Yes."}
    assert await tell(http, models, "reply", {"recall": True, "text": "Anything else?"}) == 200
    told = [{"role": "system", "content": "9"}, {"role": "user", "content": "It is 4 7."}]
    for messages, said in (
        (told, "The code is 4, 7. Anything else?"),
        (told[:1], "You gave me no code. Anything else?"),
    ):
        async with http.post(f"{models}/v1/chat/completions", json={"messages": messages}) as answer:
            assert (await answer.json())["choices"][0]["message"]["content"] == said
    async with http.get(f"{models}/scripted/stats") as answer:
        assert (await answer.json())["llm"] == 4
    async with http.delete(f"{models}/scripted") as answer:
        assert answer.status == 200
    async with http.get(f"{models}/scripted/stats") as answer:
        assert (await answer.json())["llm"] == 0
    assert await tell(http, models, "times", {"nap_ms": 1}) == 400
    assert await tell(http, models, "failures", {"stt": "shout"}) == 400


@promise("scripted.tones")
async def test_each_process_speaks_in_a_tone_of_its_own(models: str, http: aiohttp.ClientSession) -> None:
    assert await tell(http, models, "voice", {"voice": "whistle"}) == 400
    assert await tell(http, models, "voice", {"voice": "tones"}) == 200
    body = {"input": "Good morning to you all.", "response_format": "pcm"}
    mine = []
    for _ in range(2):
        async with http.post(f"{models}/v1/audio/speech", json=body) as answer:
            mine.append(await answer.read())
    post = f"u.Request({models + '/v1/audio/speech'!r}, {json.dumps(body)!r}.encode())"
    script = f"import urllib.request as u; u.urlopen({post})"
    other = await asyncio.create_subprocess_exec(sys.executable, "-c", script)
    assert await other.wait() == 0
    async with http.get(f"{models}/scripted/stats") as answer:
        tones = (await answer.json())["tones"]
    assert mine[0] == mine[1]
    assert list(tones) == [str(os.getpid()), str(other.pid)]
    samples = np.frombuffer(mine[0], "<i2")
    assert np.argmax(np.abs(np.fft.rfft(samples))) * voice.RATE / len(samples) == pytest.approx(
        tones[str(os.getpid())], abs=2
    )


@promise("scripted.failures")
async def test_each_part_fails_as_it_is_told_and_works_again(models: str, http: aiohttp.ClientSession) -> None:
    body = {"input": "Good morning.", "response_format": "pcm"}
    await tell(http, models, "failures", {"tts": "error"})
    async with http.post(f"{models}/v1/audio/speech", json=body) as answer:
        assert answer.status == 500
    await tell(http, models, "failures", {"tts": "hang"})
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5), http.post(f"{models}/v1/audio/speech", json=body):
            pass
    await tell(http, models, "failures", {"tts": "half_open"})
    async with http.post(f"{models}/v1/audio/speech", json=body) as answer:
        assert len(await answer.content.readexactly(4_800)) == 4_800
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await answer.content.readexactly(1)
    await tell(http, models, "failures", {"tts": None})
    async with http.post(f"{models}/v1/audio/speech", json=body) as answer:
        assert answer.status == 200


@promise("scripted.stalls")
async def test_an_answer_stalls_in_the_middle_of_a_sentence(models: str, http: aiohttp.ClientSession) -> None:
    await tell(http, models, "failures", {"stt": "stall", "llm": "stall", "tts": "stall"})
    chat = {"messages": [{"role": "user", "content": "Hello"}], "stream": True}
    words = ""
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1.0), http.post(f"{models}/v1/chat/completions", json=chat) as answer:
            async for line in answer.content:
                if line.startswith(b"data: "):
                    words += json.loads(line[6:])["choices"][0]["delta"].get("content") or ""
    assert words == "Breakfast is served from seven until half past ten every morning,"
    sound_so_far = b""
    with pytest.raises(TimeoutError):
        async with (
            asyncio.timeout(1.0),
            http.post(f"{models}/v1/audio/speech", json={"input": words, "response_format": "pcm"}) as answer,
        ):
            async for data in answer.content.iter_any():
                sound_so_far += data
    samples = np.frombuffer(sound_so_far, "<i2")
    assert len(samples) / voice.RATE == pytest.approx(0.93, abs=0.01)
    assert len(timing.active(samples, voice.RATE)) > 30
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1.0):
            await hear(http, models, samples)
