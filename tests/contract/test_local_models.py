"""The models server as a process, asked as LiveKit's openai plugin asks it."""

import asyncio
import io
import re
import sys
from collections.abc import AsyncIterator

import aiohttp
import numpy as np
import pytest
from livekit.agents import APIStatusError, llm
from livekit.plugins import openai
from openai import AsyncClient

from local.models import flite, sound, voice
from tests.models_process import running
from tests.promises import promise

SENTENCES = (
    "Please send the receipt to my office.",
    "We are arriving late on Friday night.",
    "Please cancel my reservation for Monday.",
)
with_flite = pytest.mark.skipif(not flite.binary(), reason="flite is not installed")


@pytest.fixture
async def models() -> AsyncIterator[str]:
    async with running("local.models") as url:
        yield url


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


def plain(text: str) -> str:
    return re.sub(r"[^a-z ]", "", text.lower())


def telephone(signal: sound.Signal) -> sound.Signal:
    """Through the mu-law of G.711."""
    pressed = np.round(np.sign(signal) * np.log1p(255 * np.abs(signal)) / np.log(256) * 127) / 127
    heard: sound.Signal = (np.sign(pressed) * (256 ** np.abs(pressed) - 1) / 255).astype(np.float32)
    return heard


async def transcribe(http: aiohttp.ClientSession, url: str, wav: bytes) -> tuple[int, dict[str, object]]:
    form = aiohttp.FormData()
    form.add_field("file", io.BytesIO(wav), filename="speech.wav", content_type="audio/wav")
    form.add_field("model", "whisper-1")
    async with http.post(f"{url}/v1/audio/transcriptions", data=form) as answer:
        return answer.status, await answer.json()


async def heard(http: aiohttp.ClientSession, url: str, signal: sound.Signal, rate: int) -> str:
    status, said = await transcribe(http, url, sound.write_wav(sound.to_samples(signal), rate))
    assert status == 200
    return plain(str(said["text"]))


@with_flite
@promise("models.heard")
async def test_what_is_spoken_is_heard_word_for_word_also_through_the_telephone(
    models: str, http: aiohttp.ClientSession
) -> None:
    for sentence in SENTENCES:
        body = {"input": sentence, "voice": "flite:rms", "response_format": "pcm"}
        async with http.post(f"{models}/v1/audio/speech", json=body) as answer:
            assert answer.content_type == "audio/pcm"
            spoken = sound.to_signal(np.frombuffer(await answer.read(), "<i2"))
        wide = sound.resample(spoken, voice.RATE, 16_000)
        assert await heard(http, models, wide, 16_000) == plain(sentence)
        narrow = telephone(sound.resample(spoken, voice.RATE, 8_000))
        assert await heard(http, models, narrow, 8_000) == plain(sentence)


@promise("models.heard_at_once")
async def test_callers_at_once_each_get_their_own_words_and_silence_gets_none(
    models: str, http: aiohttp.ClientSession
) -> None:
    quiet = np.zeros(16_000, np.float32)
    signals = [sound.resample(sound.to_signal(await voice.synthesise(one)), 24_000, 16_000) for one in SENTENCES]
    alone = [await heard(http, models, signal, 16_000) for signal in signals]
    sounds = [*signals, quiet] * 4
    together = await asyncio.gather(*(heard(http, models, signal, 16_000) for signal in sounds))
    assert together == [*alone, ""] * 4


@promise("models.plugin")
async def test_livekits_plugin_hears_speaks_and_thinks_with_it(models: str) -> None:
    async with asyncio.timeout(30):
        async with AsyncClient(base_url=f"{models}/v1", api_key="none", max_retries=0) as client:
            mouth = openai.TTS(voice="nova", response_format="pcm", client=client)
            frame = await mouth.synthesize("Please cancel my reservation for Monday.").collect()
            assert frame.sample_rate == 24_000
            event = await openai.STT(client=client).recognize(frame)
            assert "reservation" in event.alternatives[0].text
            talk = llm.ChatContext.empty()
            talk.add_message(role="user", content="Hello!")
            said = await openai.LLM(model="local", client=client).chat(chat_ctx=talk).collect()
            assert said.text or said.tool_calls


@promise("models.voices")
async def test_every_voice_name_speaks_and_openais_names_differ(models: str, http: aiohttp.ClientSession) -> None:
    spoken = {}
    for name in ("alloy", "onyx", "echo", "nobody", "espeak:en-gb", "de-DE-KatjaNeural", ""):
        body = {"input": "Good morning.", "voice": name, "response_format": "wav"}
        async with http.post(f"{models}/v1/audio/speech", json=body) as answer:
            assert answer.status == 200
            signal, rate = sound.read_wav(await answer.read())
            assert rate == 24_000
            spoken[name] = signal.tobytes()
    assert len({spoken[name] for name in ("alloy", "onyx", "echo", "espeak:en-gb", "de-DE-KatjaNeural")}) == 5
    assert spoken["nobody"] == spoken[""]


@promise("models.refusals")
async def test_bad_requests_get_one_sentence_in_openais_shape(models: str, http: aiohttp.ClientSession) -> None:
    status, refused = await transcribe(http, models, b"no sound at all")
    assert status == 400
    assert refused == {
        "error": {
            "message": "the file is no WAV: send RIFF/WAVE with PCM samples",
            "type": "invalid_request_error",
            "param": "file",
            "code": None,
        }
    }
    status, _ = await transcribe(http, models, bytes(26 * 1024 * 1024))
    assert status == 413
    bad = [
        ("audio/speech", {"input": "", "voice": "alloy"}, "input"),
        ("audio/speech", {"input": "a" * 4_097, "voice": "alloy"}, "input"),
        ("audio/speech", {"input": "a", "speed": 40}, "speed"),
        ("audio/speech", {"input": "a", "response_format": "mp3"}, "response_format"),
        ("chat/completions", {"messages": []}, "messages"),
        ("chat/completions", {"messages": [{"role": "user", "content": "a"}], "tools": 1}, "tools"),
    ]
    for path, body, param in bad:
        async with http.post(f"{models}/v1/{path}", json=body) as answer:
            assert answer.status == 400
            assert (await answer.json())["error"]["param"] == param
    async with http.get(f"{models}/v1/nothing") as answer:
        assert answer.status == 404
        assert "/v1/nothing" in (await answer.json())["error"]["message"]


@promise("models.busy_port")
async def test_a_busy_port_is_one_sentence_and_status_2(models: str) -> None:
    port = models.rpartition(":")[2]
    second = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "local.models.scripted", "--port", port), stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(20):
        _, told = await second.communicate()
    assert second.returncode == 2
    assert port in told.decode()
    assert "free it, or give another --port" in told.decode()
    assert "Traceback" not in told.decode()


@promise("models.plugin_error")
async def test_the_plugin_sees_a_refusal_as_a_status_and_not_as_a_hang(models: str) -> None:
    voice_ = openai.TTS(voice="nova", response_format="mp3", base_url=f"{models}/v1", api_key="none")
    async with asyncio.timeout(20):
        with pytest.raises(APIStatusError, match="send 'pcm' or 'wav'"):
            await voice_.synthesize("Hello.").collect()
    await voice_.aclose()
