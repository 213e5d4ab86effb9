"""Calls that are recorded: an agent worker and control over one home, and the recording as those hear it who may."""

import asyncio
import contextlib
import io
import json
import os
import signal
import time
import wave
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
from livekit import rtc
from numpy.typing import NDArray

from local.models import voice
from switchboard.recordings import RATE, recording_id
from tests.agent_process import AgentProcess, Phone, agent_process
from tests.control_service import ControlService, control_service
from tests.room_guest import eventually

Samples = NDArray[np.int16]

LOUD = 700
# A recording is written as far as it is this old; a test that kills somebody waits for it.
BEHIND_S = 16.5


def tone(seconds: float, hertz: float = 900.0) -> Samples:
    """A tone as a phone plays it."""
    at = np.arange(round(seconds * voice.RATE))
    return (9_000 * np.sin(2 * np.pi * hertz * at / voice.RATE)).astype(np.int16)


def spans(channel: Samples, rate: int = RATE, hole_s: float = 0.12) -> list[tuple[float, float]]:
    """Where there is sound, in seconds, shorter holes being none."""
    loud = np.flatnonzero(np.abs(channel.astype(np.int32)) > LOUD)
    if not loud.size:
        return []
    cuts = np.flatnonzero(np.diff(loud) > rate * hole_s)
    starts, ends = [loud[0], *loud[cuts + 1]], [*loud[cuts], loud[-1]]
    return [(float(a) / rate, float(b + 1) / rate) for a, b in zip(starts, ends, strict=True)]


@dataclass
class Ear:
    """What a phone hears, with the clock's time of each 10 ms."""

    at: list[float]
    loud: list[bool]

    def onsets(self, after: float = 0.0) -> list[float]:
        """When sound began after half a second without."""
        found = []
        for n, loud in enumerate(self.loud):
            if loud and self.at[n] > after and not any(self.loud[max(n - 50, 0) : n]):
                found.append(self.at[n])
        return found


def ear(phone: Phone) -> Ear:
    """Listens to whoever speaks to the phone from here on."""
    heard = Ear([], [])

    async def listen(track: rtc.Track) -> None:
        audio = rtc.AudioStream(track, sample_rate=8_000, num_channels=1, frame_size_ms=10)
        try:
            async for event in audio:
                heard.at.append(time.time() - 0.01)
                samples = np.frombuffer(event.frame.data, np.int16).astype(np.int32)
                heard.loud.append(bool(np.abs(samples).max() > LOUD))
        finally:
            await audio.aclose()

    phone.room.on("track_subscribed", lambda track, _its, _who: phone.start(listen(track)))
    return heard


@dataclass
class Site:
    control: ControlService
    agent: AgentProcess

    async def ring(self, **persona: Any) -> tuple[Phone, Ear]:
        phone = await self.agent.ring()
        heard = ear(phone)
        await self.send(phone, 1, **persona)
        await eventually(lambda: bool(phone.agents()), 30)
        await phone.answer()
        return phone, heard

    async def send(self, phone: Phone, attempt: int, **persona: Any) -> None:
        told = {"record": True, "welcome_message": "Good day.", **persona}
        await self.agent.dispatch(phone.name, self.agent.metadata(phone, attempt=attempt, **told))

    async def greeted(self, **persona: Any) -> tuple[Phone, Ear]:
        """A phone that has heard the welcome to its end."""
        phone, heard = await self.ring(**persona)
        await self.until_event(phone, "item", times=2 if persona.get("record", True) else 1)
        await eventually(lambda: not phone.hears())
        return phone, heard

    async def events(self, phone: Phone) -> list[dict[str, Any]]:
        answer = await self.control.request("GET", f"/calls/{phone.call_id}")
        return list(answer.body["events"]) if answer.status == 200 else []

    async def until_event(
        self, phone: Phone, kind: str, *, times: int = 1, limit_s: float = 40.0
    ) -> list[dict[str, Any]]:
        """All events of the call once so many are of this kind."""
        end = time.monotonic() + limit_s
        while True:
            events = await self.events(phone)
            if sum(one["kind"] == kind for one in events) >= times:
                return events
            assert time.monotonic() < end, [one["kind"] for one in events]
            await asyncio.sleep(0.1)

    async def shown(self, phone: Phone) -> dict[str, Any]:
        answer = await self.control.request("GET", f"/recordings?call_id={phone.call_id}")
        assert answer.status == 200
        return dict(answer.body["recordings"][0]) if answer.body["recordings"] else {}

    async def until_state(self, phone: Phone, state: str, limit_s: float = 40.0) -> dict[str, Any]:
        end = time.monotonic() + limit_s
        while True:
            found = await self.shown(phone)
            if found.get("state") == state:
                return found
            assert time.monotonic() < end, (found, await self.events(phone))
            await asyncio.sleep(0.1)

    def audio(self, phone: Phone) -> str:
        return f"/recordings/{recording_id_of(phone)}/audio"

    async def raw(self, phone: Phone, **headers: str) -> tuple[int, bytes, Mapping[str, str]]:
        """What the audio route answers the admin."""
        url = f"{self.control.base}{self.audio(phone)}"
        auth = {"Authorization": f"Bearer {self.control.admin_key}"}
        async with self.control.http.get(url, headers=auth | headers) as answer:
            return answer.status, await answer.read(), answer.headers.copy()

    async def wav(self, phone: Phone) -> Samples:
        """The recording: a row for each sample, caller left, agent right."""
        status, data, _headers = await self.raw(phone)
        assert status == 200, data[:300]
        with wave.open(io.BytesIO(data)) as file:
            assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (2, 2, RATE)
            return np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, 2)

    async def ended(self, phone: Phone, state: str = "complete") -> dict[str, Any]:
        await phone.hang_up()
        return await self.until_state(phone, state)

    def kill(self, phone: Phone) -> None:
        """Ends with -9 the process that serves the call."""
        for link in Path("/proc").glob("[0-9]*/fd/*"):
            with contextlib.suppress(OSError):
                if f"outbox/{phone.call_id}" in str(link.readlink()):
                    os.kill(int(link.parts[2]), signal.SIGKILL)
                    return
        raise AssertionError("no process serves the call")

    def everything_written(self) -> str:
        """All logs and files of facts, as text."""
        paths = [*self.control.home.rglob("*.log"), *self.control.home.rglob("*.jsonl"), self.agent.log]
        return "\n".join(path.read_text(errors="replace") for path in paths if path.is_file())


def recording_id_of(phone: Phone) -> str:
    return str(recording_id(UUID(phone.call_id)))


def started(recording: dict[str, Any]) -> float:
    """When the recording begins, in seconds since 1970."""
    return datetime.fromisoformat(recording["started_at"]).timestamp()


def told(events: list[dict[str, Any]]) -> str:
    return json.dumps(events)


@contextlib.asynccontextmanager
async def site(**settings: str) -> AsyncIterator[Site]:
    """Both, sharing a home and a Redis."""
    async with control_service(**settings) as control:
        shared = {"SWITCHBOARD_HOME": str(control.home), "REDIS_URL": control.redis.url, **settings}
        async with agent_process(**shared) as agent:
            yield Site(control, agent)
