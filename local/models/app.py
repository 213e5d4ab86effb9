"""The models server: routes onto hearing, voice and chat."""

import importlib
from collections.abc import AsyncIterator, Callable
from typing import Any, cast

from aiohttp import web

from local.models import hearing, routes, voice, wire

MODELS = ("moonshine-tiny-en", "local-voice", "local-chat")
EAR = web.AppKey("ear", hearing.Ear)

Answer = Callable[[list[dict[str, Any]], list[dict[str, Any]] | None], wire.Reply]


def create() -> web.Application:
    """The application; it listens once the models are loaded."""
    app = web.Application(client_max_size=routes.MAX_BODY, middlewares=[routes.errors])
    app.cleanup_ctx.append(_resources)
    app.add_routes(
        [
            web.get("/health", _health),
            web.get("/v1/models", _models),
            web.post("/v1/audio/transcriptions", _transcribe),
            web.post("/v1/audio/speech", _speak),
            web.post("/v1/chat/completions", _chat),
        ]
    )
    return app


async def _resources(app: web.Application) -> AsyncIterator[None]:
    async with hearing.Ear() as app[EAR]:
        # Both engines speak their first sentence slower.
        await voice.synthesise("Hello.", "espeak:en-us")
        await voice.synthesise("Hello.")
        yield


async def _health(_request: web.Request) -> web.Response:
    return web.json_response({"status": "ok", "models": list(MODELS), "voices": voice.names()})


async def _models(_request: web.Request) -> web.Response:
    models = [{"id": name, "object": "model", "created": 0, "owned_by": "switchboard"} for name in MODELS]
    return web.json_response({"object": "list", "data": models})


async def _transcribe(request: web.Request) -> web.Response:
    signal, rate = await routes.uploaded_sound(request)
    form = await request.post()
    try:
        text = await request.app[EAR].transcribe(signal, rate)
    except hearing.Busy:
        raise wire.Refused("too many transcriptions wait already: ask again in a second", status=503) from None
    return routes.transcription(text, str(form.get("response_format") or "json"))


async def _speak(request: web.Request) -> web.Response:
    asked = await routes.read_speech(request)
    return routes.speech(await voice.synthesise(asked.text, asked.voice, speed=asked.speed), asked.format)


async def _chat(request: web.Request) -> web.StreamResponse:
    asked = wire.read_chat(await routes.body(request))
    return await routes.chat(request, asked, _answer()(asked.messages, asked.tools))


def _answer() -> Answer:
    """Imported with the first question, so that hearing and speaking do not wait for it."""
    return cast(Answer, importlib.import_module("local.models.chat").answer)
