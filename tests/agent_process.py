"""The agent as a real process beside a real LiveKit server, Redis and scripted models; a test plays the phone."""

import asyncio
import base64
import contextlib
import json
import os
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import numpy as np
from livekit import api, rtc

from local.models import sound, timing, voice
from local.ports import free_port
from switchboard import stream
from switchboard.call import call_id_of_sip
from switchboard.fact import Fact
from tests.livekit_server import LiveKitServer, livekit_server, stop
from tests.redis_server import redis_server
from tests.room_guest import eventually

READY_S = 60.0
RATE = 48_000
AGENT = rtc.ParticipantKind.PARTICIPANT_KIND_AGENT


@dataclass(eq=False)
class Phone:
    """A caller in a room, made as a SIP line makes one. `heard` holds what each agent's track brought, in 10 ms."""

    room: rtc.Room
    name: str
    sip_call_id: str
    heard: dict[str, list[bool]] = field(default_factory=dict)
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    tasks: set[asyncio.Task[None]] = field(default_factory=set)
    source: rtc.AudioSource = field(default_factory=lambda: rtc.AudioSource(RATE, 1, queue_size_ms=0))
    waiting: list[bytes] = field(default_factory=list)
    sent: list[float] = field(default_factory=list)
    """When each sound that was played began to be sent, in seconds since 1970."""

    @property
    def call_id(self) -> str:
        return str(call_id_of_sip(self.sip_call_id))

    def agents(self) -> list[str]:
        return [one.identity for one in self.room.remote_participants.values() if one.kind == AGENT]

    def start(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def answer(self) -> None:
        """The phone is off the hook."""
        await self.room.local_participant.set_attributes({"sip.callStatus": "active"})

    def hears(self) -> set[str]:
        """The agents whose voice came in the last half second."""
        return {identity for identity, frames in self.heard.items() if any(frames[-50:])}

    async def play(self, samples: sound.Samples) -> None:
        """Sends 24 kHz sound; returns when the last of it was sent."""
        wide = np.repeat(samples, RATE // voice.RATE).astype("<i2").tobytes()
        step = RATE // 100 * 2
        self.waiting += [wide[at : at + step].ljust(step, b"\0") for at in range(0, len(wide), step)]
        await eventually(lambda: not self.waiting, 60)

    async def cough(self) -> None:
        """A burst of noise of 0.3 s."""
        noise = np.random.default_rng(1).normal(0, 6_000, int(0.3 * voice.RATE))
        fade = np.exp(-np.linspace(0, 4, len(noise)))
        await self.play((noise * fade).clip(-30_000, 30_000).astype(np.int16))

    async def type(self, text: str) -> None:
        """Sends words as a browser's chat does."""
        await self.room.local_participant.send_text(text, topic="lk.chat")

    async def talk(self) -> None:
        """Sends sound every 10 ms, silence when there is nothing to say, as a phone does."""
        quiet = bytes(RATE // 100 * 2)
        loop = asyncio.get_running_loop()
        due = loop.time()
        talking = False
        while True:
            if self.waiting and not talking:
                self.sent.append(time.time())
            talking = bool(self.waiting)
            data = self.waiting.pop(0) if self.waiting else quiet
            await self.source.capture_frame(rtc.AudioFrame(data, RATE, 1, RATE // 100))
            due += 0.01
            await asyncio.sleep(max(0.0, due - loop.time()))

    async def listen(self, track: rtc.Track, identity: str) -> None:
        frames = self.heard.setdefault(identity, [])
        audio = rtc.AudioStream(track, sample_rate=8_000, num_channels=1, frame_size_ms=10)
        try:
            async for event in audio:
                loud = np.abs(np.frombuffer(event.frame.data, dtype=np.int16).astype(np.int32)).max() > 500
                frames.append(bool(loud))
                del frames[:-3_000]
        finally:
            await audio.aclose()

    async def hang_up(self) -> None:
        for task in list(self.tasks):
            task.cancel()
        await self.room.disconnect()


@dataclass(eq=False)
class AgentProcess:
    """One running agent worker and what it stands on."""

    server: LiveKitServer
    client: api.LiveKitAPI
    models: str
    redis_url: str
    process: asyncio.subprocess.Process
    log: Path
    environment: Mapping[str, str]
    phones: list[Phone] = field(default_factory=list)

    @property
    def port(self) -> int:
        """Where the worker tells of its health."""
        return int(self.environment["AGENT_PORT"])

    @contextlib.asynccontextmanager
    async def another(self, **settings: str) -> AsyncIterator[asyncio.subprocess.Process]:
        """One more worker of the same installation, ready, while the body runs; its log is `another.log`."""
        env = {**self.environment, **settings}
        async with running_module(self.log.with_name("another.log"), env, "agent") as process:
            await until_ok(f"http://127.0.0.1:{env['AGENT_PORT']}/ready")
            yield process

    async def ring(self, **attributes: str) -> Phone:
        """A phone that rings in a room of its own."""
        sip_call_id = f"SCL_{uuid4().hex[:12]}"
        phone = Phone(rtc.Room(), f"call_{uuid4().hex[:12]}", sip_call_id)
        given = {
            "sip.callID": sip_call_id,
            "sip.ruleID": "SDR_test",
            "sip.trunkPhoneNumber": "+15550100001",
            "sip.phoneNumber": "+15550109999",
            "sip.callStatus": "ringing",
            **attributes,
        }
        phone.room.on("track_subscribed", lambda track, _its, who: phone.start(phone.listen(track, who.identity)))
        phone.room.on("disconnected", lambda *_: phone.gone.set())
        await phone.room.connect(self.server.url, self.server.token(phone.name, "sip_caller", kind="sip", **given))
        track = rtc.LocalAudioTrack.create_audio_track("sip", phone.source)
        options = rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE, dtx=False, red=False)
        await phone.room.local_participant.publish_track(track, options)
        phone.start(phone.talk())
        self.phones.append(phone)
        return phone

    def metadata(self, phone: Phone, *, attempt: int = 1, conversation: str = "", **persona: Any) -> str:
        """What the webhook service would send. `conversation`: another one than the call's own."""
        return json.dumps(
            {
                "conversation_id": conversation or phone.call_id,
                "call_id": phone.call_id,
                "room_sid": "",
                "attempt": attempt,
                "dialed_number": "+15550100001",
                "caller_number": "+15550109999",
                "persona_source": "api",
                "persona": {"persona_name": "Test Hotel", **persona},
            }
        )

    async def dispatch(self, room: str, metadata: str) -> None:
        request = api.CreateAgentDispatchRequest(agent_name="friday-ai-agent", room=room, metadata=metadata)
        await self.client.agent_dispatch.create_dispatch(request)

    async def facts(self, call_id: str) -> list[Fact]:
        """The facts of a call that are on the stream so far, in order."""
        async with stream.connect(self.redis_url, timeout_s=5) as redis:
            entries = await redis.xrange(stream.STREAM)
        found = [stream.read(fields) for _id, fields in entries]
        # An answer of Redis that came too late has the facts sent again: the same ids, and so the same facts.
        once = {one.id: one for one in found if one is not None and str(one.call_id) == call_id}
        return list(once.values())

    async def until_fact(self, call_id: str, kind: str, *, times: int = 1, limit_s: float = 30.0) -> list[Fact]:
        """All facts of the call once `times` of this kind are among them."""
        end = asyncio.get_running_loop().time() + limit_s
        while True:
            facts = await self.facts(call_id)
            if sum(one.kind == kind for one in facts) >= times:
                return facts
            assert asyncio.get_running_loop().time() < end, [one.body for one in facts]
            await asyncio.sleep(0.05)

    async def until_user(self, call_id: str, limit_s: float = 30.0) -> None:
        """Returns once a turn of the caller is on record."""
        async with asyncio.timeout(limit_s):
            while not any('"role":"user"' in one.model_dump_json() for one in await self.facts(call_id)):  # noqa: ASYNC110
                await asyncio.sleep(0.05)

    async def say(self, phone: Phone, *parts: str | float) -> None:
        """Says texts with pauses (numbers: seconds) between them; the scripted model knows their words."""
        await phone.play(await self.taught(*parts))

    async def taught(self, *parts: str | float, also: Sequence[str] = ()) -> sound.Samples:
        """The sound of texts and pauses, whose words the scripted models know, and those at other addresses too."""
        spoken = await timing.speak(list(parts), "flite:rms")
        wav = base64.b64encode(sound.write_wav(spoken.samples, voice.RATE)).decode()
        words = [[word.text, word.end_s] for word in spoken.words]
        told = {"utterances": [{"text": spoken.text, "wav_base64": wav, "words": words}]}
        await self.script("utterances", told, also=also)
        return spoken.samples

    async def script(self, what: str, told: Mapping[str, Any], *, also: Sequence[str] = ()) -> None:
        """Tells the scripted models what to do, and those at other addresses too."""
        for models in (self.models, *also):
            await _tell(f"{models}/scripted/{what}", told)

    async def forget_script(self) -> None:
        """The models answer as they do at first."""
        async with aiohttp.ClientSession() as http, http.delete(f"{self.models}/scripted") as answer:
            assert answer.status < 300

    async def join(self, room: str, identity: str) -> rtc.Room:
        """Somebody else in the room."""
        other = rtc.Room()
        await other.connect(self.server.url, self.server.token(room, identity))
        return other

    async def until_room_is_gone(self, name: str, limit_s: float = 20.0) -> None:
        async with asyncio.timeout(limit_s):
            while name in await self.rooms():  # noqa: ASYNC110 - what is waited for happens in other processes
                await asyncio.sleep(0.05)

    async def delete_room(self, name: str) -> None:
        await self.client.room.delete_room(api.DeleteRoomRequest(room=name))

    async def rooms(self) -> list[str]:
        answer = await self.client.room.list_rooms(api.ListRoomsRequest())
        return [room.name for room in answer.rooms]


async def _tell(url: str, told: Mapping[str, Any]) -> None:
    async with aiohttp.ClientSession() as http, http.post(url, json=dict(told)) as answer:
        assert answer.status < 300, await answer.text()


@contextlib.asynccontextmanager
async def agent_process(**settings: str) -> AsyncIterator[AgentProcess]:
    """Starts all of it, waits until the agent is registered, and ends it again."""
    async with contextlib.AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sb-agent-")))
        redis = await stack.enter_async_context(redis_server())
        server = await stack.enter_async_context(livekit_server())
        models, agent = free_port(), free_port()
        env = {
            **{name: value for name, value in os.environ.items() if not name.startswith("LIVEKIT_")},
            **server.environment(),
            "REDIS_URL": redis.url,
            "SWITCHBOARD_HOME": str(folder / "home"),
            "AGENT_PORT": str(agent),
            "OMP_NUM_THREADS": "1",
            **{f"{part}_BASE_URL": f"http://127.0.0.1:{models}/v1" for part in ("STT", "LLM", "TTS")},
            **settings,
        }
        await stack.enter_async_context(
            running_module(folder / "models.log", env, "local.models.scripted", "--port", str(models))
        )
        process = await stack.enter_async_context(running_module(folder / "agent.log", env, "agent"))
        client = await stack.enter_async_context(server.client())
        log = folder / "agent.log"
        made = AgentProcess(server, client, f"http://127.0.0.1:{models}", redis.url, process, log, env)
        await until_ok(f"{made.models}/health")
        await until_ok(f"http://127.0.0.1:{agent}/ready")
        try:
            yield made
        finally:
            for phone in made.phones:
                await phone.hang_up()


@contextlib.asynccontextmanager
async def running_module(
    log: Path, env: Mapping[str, str], *module: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    with log.open("wb") as out:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", *module, stdout=out, stderr=out, env=dict(env)
        )
    try:
        yield process
    finally:
        await stop(process)


async def until_ok(url: str) -> None:
    async with asyncio.timeout(READY_S), aiohttp.ClientSession() as http:
        while True:
            with contextlib.suppress(aiohttp.ClientError):
                async with http.get(url) as answer:
                    if answer.status == 200:
                        return
            await asyncio.sleep(0.05)
