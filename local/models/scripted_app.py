"""The scripted models: the models server's protocol, with times, words, replies and failures from a script."""

import asyncio
from collections.abc import Awaitable, Callable

import numpy as np
from aiohttp import web

from local.models import recognise, routes, sound, timing, tones, voice, wire
from local.models.script import Kind, Script

SCRIPT = web.AppKey("script", Script)
MAX_BODY = 128 * 1024 * 1024
HANG_S = 120.0
# How much of a sentence is heard before its sound stalls.
STALL_AFTER_S = 0.7
HEARD_KEPT = 200


def create() -> web.Application:
    """The application, with the default script."""
    app = web.Application(client_max_size=MAX_BODY, middlewares=[routes.errors])
    app[SCRIPT] = Script()
    app.add_routes(
        [
            web.get("/health", _health),
            web.get("/v1/models", _models),
            web.post("/v1/audio/transcriptions", _transcribe),
            web.post("/v1/audio/speech", _speak),
            web.post("/v1/chat/completions", _chat),
            web.get("/scripted/stats", _stats),
            web.delete("/scripted", _reset),
            web.post("/scripted/times", _told(Script.read_times)),
            web.post("/scripted/reply", _told(Script.read_reply)),
            web.post("/scripted/voice", _told(Script.read_voice)),
            web.post("/scripted/failures", _told(Script.read_failures)),
            web.post("/scripted/utterances", _told(Script.read_utterances)),
        ]
    )
    return app


def _told(read: Callable[[Script, wire.Json], None]) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def handler(request: web.Request) -> web.Response:
        told = wire.read_object(await routes.body(request))
        # Utterances are long sounds to look at; calls are answered meanwhile.
        await asyncio.to_thread(read, request.app[SCRIPT], told)
        return web.json_response({"ok": True})

    return handler


async def _health(_request: web.Request) -> web.Response:
    return web.json_response({"status": "ok", "scripted": True})


async def _models(_request: web.Request) -> web.Response:
    model = {"id": "scripted", "object": "model", "created": 0, "owned_by": "switchboard"}
    return web.json_response({"object": "list", "data": [model]})


async def _stats(request: web.Request) -> web.Response:
    script = request.app[SCRIPT]
    counts = {kind: script.asked[kind] for kind in ("stt", "llm", "tts")}
    hertz = script.tones.hertz if script.tones else {}
    return web.json_response({**counts, "utterances": len(script.utterances), "heard": script.heard, "tones": hertz})


async def _reset(request: web.Request) -> web.Response:
    script, fresh = request.app[SCRIPT], Script()
    for name in Script.__dataclass_fields__:
        setattr(script, name, getattr(fresh, name))
    return web.json_response({"ok": True})


async def _transcribe(request: web.Request) -> web.StreamResponse:
    due = _Due(request, "stt")
    if failed := await due.failure():
        return failed
    signal, rate = await routes.uploaded_sound(request)
    match = await asyncio.to_thread(recognise.find, signal, rate, tuple(due.script.utterances))
    due.script.heard = [*due.script.heard[1 - HEARD_KEPT :], match.text]
    await due.at(due.script.times.stt_ms)
    return routes.transcription(match.text)


async def _chat(request: web.Request) -> web.StreamResponse:
    due = _Due(request, "llm")
    if failed := await due.failure():
        return failed
    asked, times = wire.read_chat(await routes.body(request)), due.script.times
    first_s = times.first_token_ms / 1000 - due.passed_s()
    reply = due.script.reply.to(asked.messages, asked.tools)
    stall_s = HANG_S if due.stalls else 0.0
    return await routes.chat(request, asked, reply, first_s=first_s, each_s=times.token_ms / 1000, stall_s=stall_s)


async def _speak(request: web.Request) -> web.StreamResponse:
    due = _Due(request, "tts")
    if failed := await due.failure():
        return failed
    asked = await routes.read_speech(request)
    spoken = await _sound(request, due.script, asked)
    await due.at(due.script.times.tts_ms)
    sentence = _led_in(spoken, due.script.times.leading_silence_ms)
    if due.stalls:
        whole = round(voice.RATE * (due.script.times.leading_silence_ms / 1000 + STALL_AFTER_S))
        return await due.half(sentence[:whole].astype("<i2").tobytes())
    return routes.speech(sentence, asked.format)


async def _sound(request: web.Request, script: Script, asked: routes.SpeechRequest) -> sound.Samples:
    if script.tones is None:
        return await voice.synthesise(asked.text, asked.voice, speed=asked.speed)
    port = tones.port_of(request.transport.get_extra_info("peername") if request.transport else None)
    return tones.spoken(asked.text, await asyncio.to_thread(script.tones.of, port))


def _led_in(spoken: sound.Samples, silence_ms: float) -> sound.Samples:
    """The sentence with exactly this much silence before it."""
    loud = timing.active(spoken, voice.RATE)
    start = int(loud[0]) * round(voice.RATE * timing.FRAME_S) if len(loud) else 0
    return np.concatenate([np.zeros(round(voice.RATE * silence_ms / 1000), np.int16), spoken[start:]])


class _Due:
    """One request: when it came, and what the script does with it."""

    def __init__(self, request: web.Request, kind: Kind) -> None:
        self.script, self._request, self._kind = request.app[SCRIPT], request, kind
        self._came = asyncio.get_running_loop().time()
        self.script.asked[kind] += 1

    def passed_s(self) -> float:
        return asyncio.get_running_loop().time() - self._came

    async def at(self, after_ms: float) -> None:
        """Waits until so long after the request came."""
        await asyncio.sleep(max(0.0, after_ms / 1000 - self.passed_s()))

    async def failure(self) -> web.StreamResponse | None:
        """The failure that is scripted for this kind, acted out; None when there is none."""
        match self.script.failures.get(self._kind):
            case "error":
                raise wire.Refused("this failure is scripted", status=500)
            case "hang":
                await asyncio.sleep(HANG_S)
                raise wire.Refused("this failure is scripted", status=504)
            case "half_open":
                return await self.half({"stt": b'{"te', "llm": b'data: {"id":', "tts": bytes(4_800)}[self._kind])
            case "stall" if self._kind == "stt":
                return await self.half(b"")
        return None

    @property
    def stalls(self) -> bool:
        """Whether the answer stops in the middle."""
        return self.script.failures.get(self._kind) == "stall"

    async def half(self, begun: bytes) -> web.StreamResponse:
        """A good answer's headers and beginning, and nothing more."""
        response = web.StreamResponse()
        response.content_type = {"stt": "application/json", "llm": "text/event-stream", "tts": "audio/pcm"}[
            self._kind
        ]
        await response.prepare(self._request)
        if begun:
            await response.write(begun)
        await asyncio.sleep(HANG_S)
        return response
