"""What both servers (the models and the scripted ones) share of HTTP: reading requests, answering, errors."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog
from aiohttp import web

from local.models import sound, voice, wire
from local.models.speech import SpeechFailed

MAX_BODY = 25 * 1024 * 1024
READ_TIMEOUT_S = 20.0
RATE = voice.RATE

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class SpeechRequest:
    """A text to speak; `format` is "pcm" (24 kHz mono s16le) or "wav"."""

    text: str
    voice: str
    speed: float
    format: str


@web.middleware
async def errors(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    """Answers every failure in OpenAI's shape."""
    try:
        return await handler(request)
    except wire.Refused as refused:
        return refused.response()
    except web.HTTPRequestEntityTooLarge:
        return wire.Refused(f"the body is over {request.client_max_size >> 20} MiB: send less", status=413).response()
    except web.HTTPException as refused:
        return wire.Refused(f"{request.method} {request.path}: {refused.reason}", status=refused.status).response()
    except SpeechFailed as failed:
        return wire.Refused(str(failed), status=500).response()
    except TimeoutError:
        return wire.Refused("it took too long: send less, or ask again later", status=503).response()
    except ConnectionError:
        # Whoever asked is gone, as when a caller goes on speaking: nobody gets this.
        return web.Response(status=499)
    except Exception:
        # The border of the process: the caller gets an answer in the shape it knows, whatever broke.
        log.exception("request_failed", path=request.path)
        return wire.Refused("the models server failed: see its log", status=500).response()


async def uploaded_sound(request: web.Request) -> tuple[sound.Signal, int]:
    """The WAV of a transcription request. Raises Refused."""
    if request.content_type != "multipart/form-data":
        raise wire.Refused("the body is no multipart/form-data: send the WAV as its field 'file'", param="file")
    async with asyncio.timeout(READ_TIMEOUT_S):
        try:
            form = await request.post()
        except ValueError:
            raise wire.Refused(
                "the multipart body is broken: send the WAV as its field 'file'", param="file"
            ) from None
    field = form.get("file")
    if not isinstance(field, web.FileField):
        raise wire.Refused("file is missing: send a WAV as the field 'file'", param="file")
    try:
        return sound.read_wav(field.file.read())
    except sound.NotWav as wrong:
        raise wire.Refused(str(wrong), param="file") from None


def transcription(text: str, format: str = "json") -> web.Response:
    """The words, as `response_format` asks."""
    return web.Response(text=text + "\n") if format == "text" else web.json_response({"text": text})


async def body(request: web.Request) -> bytes:
    """The whole body, within its time."""
    async with asyncio.timeout(READ_TIMEOUT_S):
        return await request.read()


async def read_speech(request: web.Request) -> SpeechRequest:
    """The speech that is asked for. Raises Refused."""
    asked = wire.read_object(await body(request))
    text, name, speed = asked.get("input"), asked.get("voice"), asked.get("speed")
    if not isinstance(text, str) or not text.strip():
        raise wire.Refused("input is missing or empty: send the text to speak", param="input")
    if len(text) > voice.MAX_TEXT:
        raise wire.Refused(f"input has {len(text)} characters: send at most {voice.MAX_TEXT}", param="input")
    if isinstance(name, dict):
        name = name.get("id")
    if speed is None:
        speed = 1.0
    if (
        isinstance(speed, bool)
        or not isinstance(speed, int | float)
        or not voice.SPEEDS[0] <= speed <= voice.SPEEDS[1]
    ):
        raise wire.Refused(f"speed is not {voice.SPEEDS[0]} to {voice.SPEEDS[1]}: send such a number", param="speed")
    kind = asked.get("response_format") or "wav"
    if kind not in ("pcm", "wav"):
        raise wire.Refused("response_format is not spoken here: send 'pcm' or 'wav'", param="response_format")
    return SpeechRequest(text.strip(), name if isinstance(name, str) else "", float(speed), kind)


def speech(spoken: sound.Samples, format: str) -> web.Response:
    """The sound, as `response_format` asks."""
    if format == "wav":
        return web.Response(body=sound.write_wav(spoken, RATE), content_type="audio/wav")
    return web.Response(body=spoken.astype("<i2").tobytes(), content_type="audio/pcm")


async def chat(
    request: web.Request,
    asked: wire.ChatRequest,
    reply: wire.Reply,
    *,
    first_s: float = 0.0,
    each_s: float = 0.0,
    stall_s: float = 0.0,
) -> web.StreamResponse:
    """The reply, whole or streamed; the first words after `first_s`, each later piece `each_s` after that.

    `stall_s` is how long a streamed one says nothing after its first clause.
    """
    if not asked.stream:
        await asyncio.sleep(max(0.0, first_s))
        return web.json_response(wire.completion(reply, asked))
    response = web.StreamResponse(headers={"Cache-Control": "no-cache"})
    response.content_type = "text/event-stream"
    await response.prepare(request)
    clock = asyncio.get_running_loop().time
    due = clock() + first_s
    for index, chunk in enumerate(wire.chunks(reply, asked)):
        # Against the clock, so that lateness does not add up. The role goes out at once.
        if index and (wait := due - clock()) > 0:
            await asyncio.sleep(wait)
        due += each_s if index else 0.0
        await response.write(wire.event(chunk))
        if stall_s and wire.ends_clause(chunk):
            await asyncio.sleep(stall_s)
    await response.write(wire.DONE)
    await response.write_eof()
    return response
