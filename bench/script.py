"""Tells the scripted models what they need to know and asks what they were asked."""

import base64
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Literal, Self

import aiohttp

from bench.sounds import Utterance
from local.models import sound, voice

TIMEOUT_S = 60.0


class Script:
    """`async with Script(url) as script`; without a URL there are no scripted models and all of it does nothing."""

    def __init__(self, url: str | None) -> None:
        self._url = url
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        if self._url:
            self._session = aiohttp.ClientSession(self._url, timeout=aiohttp.ClientTimeout(total=TIMEOUT_S))
            async with self._session.delete("/scripted") as answer:
                answer.raise_for_status()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def teach(self, utterances: Sequence[Utterance]) -> None:
        """Makes the words of these utterances known to the scripted hearing."""
        # One at a time: all of them together are a body that takes long to read and write.
        for one in utterances:
            await self._tell("/scripted/utterances", {"utterances": [_told(one)]})

    async def reply(self, text: str) -> None:
        """What the scripted language model answers from now on."""
        await self._tell("/scripted/reply", {"text": text})

    async def recall(self, text: str | None = None) -> None:
        """It answers with the digits that it was told before, and then with `text`."""
        await self._tell("/scripted/reply", {"recall": True, **({"text": text} if text else {})})

    async def speech(self, voice: Literal["speech", "tones"]) -> None:
        """Speech, or a tone for each process that speaks."""
        await self._tell("/scripted/voice", {"voice": voice})

    async def tones(self) -> Mapping[int, int]:
        """The tone of each process that spoke so far, in hertz by pid."""
        if self._session is None:
            return {}
        async with self._session.get("/scripted/stats") as answer:
            return {int(pid): int(hertz) for pid, hertz in (await answer.json())["tones"].items()}

    async def asked(self) -> Mapping[str, int]:
        """How often each model was asked; empty without scripted models."""
        if self._session is None:
            return {}
        async with self._session.get("/scripted/stats") as answer:
            found = await answer.json()
            return {kind: int(found[kind]) for kind in ("stt", "llm", "tts")}

    async def _tell(self, path: str, body: Mapping[str, Any]) -> None:
        if self._session is None:
            return
        async with self._session.post(path, json=body) as answer:
            answer.raise_for_status()


def _told(one: Utterance) -> dict[str, Any]:
    wav = base64.b64encode(sound.write_wav(one.spoken.samples, voice.RATE)).decode()
    return {
        "text": one.text,
        "wav_base64": wav,
        "words": [[word.text, word.end_s] for word in one.spoken.words],
    }
