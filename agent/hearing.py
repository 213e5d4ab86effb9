"""Hears the caller: voice activity, early transcription, end of turn, and what is only a "mhm".

At the first breath of silence the words so far are transcribed, and a reply is prepared from them; when the
caller goes on, it is thrown away. When the silence has lasted long enough for what was said
(`agent.endpoint`), the turn is over. While the agent speaks, any voice holds it at once, and the words decide:
a backchannel or a noise lets it go on at the same sample, anything else interrupts it.
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import numpy as np
import structlog
from livekit import rtc
from livekit.agents import stt
from livekit.local_inference import VAD, VAD_WINDOW_SAMPLES

from agent.cards import Cards
from agent.endpoint import Clause, clause_of, is_backchannel
from agent.mouth import Hold, Mouth
from switchboard.fact import Body, Interrupted, ModelFailed
from switchboard.relay import reason_of

log = structlog.get_logger(__name__)

SAMPLE_RATE = 16_000
WINDOW_S = VAD_WINDOW_SAMPLES / SAMPLE_RATE
WINDOW_BYTES = VAD_WINDOW_SAMPLES * 2
SPEECH = 0.5
SILENCE = 0.35
# Windows of voice before the caller counts as speaking, and of silence before the words are asked for.
ONSET_WINDOWS = 3
EARLY_WINDOWS = 2
# The detector says "voice" for this long after a voice has ended (measured on 20 sentences).
LAG_S = 0.05
PREROLL_S = 0.4
MAX_UTTERANCE_S = 60.0
# When the caller's track goes the library adds so much silence in one frame, which nobody was silent for.
ADDED_S = 0.5
# A short word this close to the agent's end is an answer, not a sign to go on.
NEARLY_DONE_S = 0.7
# How long the end of a turn waits for a transcript that is on its way: the recogniser gives up before.
TRANSCRIPT_TIMEOUT_S = 2.6

Recognise = Callable[[rtc.AudioFrame], Awaitable[str]]


@dataclass(slots=True)
class Utterance:
    """What the caller is saying, from the first sound on. Times are of `time.monotonic`."""

    began_at: float
    over_agent: bool
    audio: bytearray
    ended_at: float = 0.0
    silent_windows: int = 0
    asked: bool = False
    text: str | None = None
    sent: str = ""
    asked_at: float = 0.0
    read_until: float = 0.0
    failed: bool = False
    too_long: bool = False


class Hearing:
    """Turns the caller's audio into LiveKit's speech events. One for a call."""

    def __init__(
        self,
        recognise: Recognise,
        mouth: Mouth,
        tell: Callable[[Body], None],
        *,
        language: str = "en",
        patience_s: float = TRANSCRIPT_TIMEOUT_S,
        on_deaf: Callable[[int], None] = lambda _times: None,
    ) -> None:
        """`patience_s` is how long words may take; `on_deaf` is told how often in a row they could not be had."""
        self._recognise = recognise
        self._mouth = mouth
        self._tell = tell
        self._language = language
        self._patience_s = patience_s
        self.on_deaf = on_deaf
        self.on_audio: Callable[[bytes], None] = lambda _data: None
        """Told the caller's sound (16 bits, 16 kHz) as it comes."""
        self.cards = Cards()
        self.on_unread: Callable[[float, float], None] = lambda _since, _until: None
        """Told from when to when the caller said what nobody will know the words of."""
        self._deaf = 0
        self._kept: list[str] = []
        self._utterance: Utterance | None = None
        self._asking: asyncio.Task[None] | None = None
        self._events: asyncio.Queue[stt.SpeechEvent] = asyncio.Queue(maxsize=256)
        self._voiced = 0
        self._recent: deque[bytes] = deque(maxlen=int(PREROLL_S / WINDOW_S))
        self.last_voice_at = time.monotonic()

    @property
    def unread_since(self) -> float | None:
        """Since when (by `time.monotonic`) the caller has said what nobody knows the words of yet."""
        said = self._utterance
        if said is None or (said.asked and said.text is not None and not said.failed):
            return None
        return said.read_until or said.began_at

    @property
    def undecided_since(self) -> float | None:
        """Since when the caller has said what may be a card number, or become one."""
        unread = self.unread_since
        # Digits wait for the words that follow them, however long those take.
        digits = self.cards.dictating(unread)
        return unread if digits is None else digits if unread is None else min(digits, unread)

    async def events(self, audio: AsyncIterable[rtc.AudioFrame]) -> AsyncIterator[stt.SpeechEvent]:
        """Speech events for the session, as long as there is audio (16 kHz mono)."""
        listening = asyncio.create_task(self._listen(audio), name="hearing")
        try:
            while not (listening.done() and self._events.empty()):
                event = await self._next_event(listening)
                if event is not None:
                    yield event
            listening.result()
        finally:
            tasks = [task for task in (listening, self._asking) if task is not None]
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def _next_event(self, listening: "asyncio.Task[None]") -> stt.SpeechEvent | None:
        getting = asyncio.ensure_future(self._events.get())
        try:
            await asyncio.wait({getting, listening}, return_when=asyncio.FIRST_COMPLETED)
            return getting.result() if getting.done() else None
        finally:
            getting.cancel()

    async def _listen(self, audio: AsyncIterable[rtc.AudioFrame]) -> None:
        detector = VAD()
        buffer = b""
        async for frame in audio:
            data = bytes(frame.data)
            if frame.duration < ADDED_S:
                self.on_audio(data)
            buffer += data
            while len(buffer) >= WINDOW_BYTES:
                window, buffer = buffer[:WINDOW_BYTES], buffer[WINDOW_BYTES:]
                self.window(detector.predict(np.frombuffer(window, dtype=np.int16)), window)

    def window(self, probability: float, audio: bytes) -> None:
        """One step of 32 ms: how surely it is a voice, and its samples."""
        if self._utterance is None:
            self._wait_for_voice(probability, audio)
        else:
            self._follow(self._utterance, probability, audio)

    def _wait_for_voice(self, probability: float, audio: bytes) -> None:
        self._recent.append(audio)
        self._voiced = self._voiced + 1 if probability >= SPEECH else 0
        if self._voiced < ONSET_WINDOWS:
            return
        began = time.monotonic() - self._voiced * WINDOW_S
        over_agent = self._mouth.left_s > NEARLY_DONE_S
        self._utterance = Utterance(began, over_agent, bytearray(b"".join(self._recent)))
        self._recent.clear()
        self._voiced = 0
        if not self._mouth.insisting:
            self._mouth.hold(Hold.CALLER_SPEAKS)
        self._emit(stt.SpeechEventType.START_OF_SPEECH, speech_start_time=_since_1970(began))

    def _follow(self, said: Utterance, probability: float, audio: bytes) -> None:
        said.audio += audio
        self.last_voice_at = time.monotonic()
        if said.too_long:
            return
        if probability >= SPEECH or (probability > SILENCE and not said.silent_windows):
            self._went_on(said)
            return
        said.silent_windows += 1
        if said.silent_windows == EARLY_WINDOWS:
            said.ended_at = time.monotonic() - EARLY_WINDOWS * WINDOW_S - LAG_S
            self._ask(said)
        if said.asked:
            self._maybe_over(said)

    def _went_on(self, said: Utterance) -> None:
        if said.over_agent and said.silent_windows >= EARLY_WINDOWS:
            self._mouth.hold(Hold.CALLER_SPEAKS)
        said.silent_windows = 0
        said.asked = False
        if len(said.audio) > MAX_UTTERANCE_S * SAMPLE_RATE * 2:
            # A line that is never silent (music, a street) is answered all the same.
            said.too_long, said.ended_at = True, time.monotonic()
            self._ask(said)

    def _ask(self, said: Utterance) -> None:
        """Asks for the words so far; an earlier question still open is not worth waiting for."""
        if self._asking is not None:
            self._asking.cancel()
        said.asked, said.text, said.failed, said.asked_at = True, None, False, time.monotonic()
        self._asking = asyncio.create_task(self._transcribe(said), name="hearing.transcribe")

    async def _transcribe(self, said: Utterance) -> None:
        data = bytes(said.audio)
        frame = rtc.AudioFrame(data, SAMPLE_RATE, 1, len(data) // 2)
        try:
            # Here alone words come in: what is hidden here is known nowhere.
            text = self.cards.words((await self._recognise(frame)).strip(), said.began_at)
        except Exception as error:  # the process border to speech models of any make
            log.warning("speech_not_recognised", exc_info=True)
            text, said.failed = "", True
            self._tell(ModelFailed(part="stt", reason=reason_of(error), recovered=False))
        if self._utterance is not said or not said.asked:
            return
        said.text = text
        said.read_until = said.read_until if said.failed else said.asked_at
        if said.too_long:
            self._over(said)
            return
        if said.over_agent and is_backchannel(text):
            self._mouth.release(Hold.CALLER_SPEAKS)
            self._tell(Interrupted(heard=text[:200], resumed=True))
        elif text and not self._mouth.insisting:
            if said.over_agent and not said.sent:
                self._tell(Interrupted(heard=text[:200], resumed=False))
            said.sent = text
            self._emit(stt.SpeechEventType.PREFLIGHT_TRANSCRIPT, text)

    def _maybe_over(self, said: Utterance) -> None:
        silence = said.silent_windows * WINDOW_S + LAG_S
        if said.text is None:
            if time.monotonic() - said.asked_at > self._patience_s:
                said.failed = True
                self._over(said)
            return
        words = said.text or said.sent
        wait = clause_of(words).value if words else Clause.COMPLETE.value
        if silence >= wait:
            self._over(said)

    def _over(self, said: Utterance) -> None:
        """The caller's turn is over: with words it is answered, without them nothing happened."""
        self._utterance = None
        self._mouth.release(Hold.CALLER_SPEAKS)
        ended = said.ended_at or time.monotonic()
        if said.failed:
            self.on_unread(said.read_until or said.began_at, ended)
        # A later look at the same words may find none; what was understood before still counts.
        text = said.text or said.sent
        if text and (said.sent or not (said.over_agent and is_backchannel(text))):
            self._deaf = 0
            self._finished(text)
        elif said.failed:
            self._deaf += 1
            self.on_deaf(self._deaf)
        self._emit(stt.SpeechEventType.END_OF_SPEECH, speech_end_time=_since_1970(ended))

    def _finished(self, text: str) -> None:
        # A turn that ends while the agent may not be interrupted would be dropped: it is kept until then.
        if self._mouth.insisting:
            self._kept.append(text)
        else:
            self._emit(stt.SpeechEventType.FINAL_TRANSCRIPT, text)

    async def finish(self, within_s: float) -> None:
        """The caller is gone: what they were saying is over. Its words are waited for so long."""
        said = self._utterance
        if said is None:
            return
        if not said.asked:
            said.ended_at = time.monotonic()
            self._ask(said)
        if self._asking is not None:
            await asyncio.wait([self._asking], timeout=within_s)
        if self._utterance is said:
            # Nobody is left who could say it again.
            said.failed = False
            self._over(said)

    def release_kept(self) -> None:
        """Answers what the caller said while the agent could not be interrupted."""
        if self._kept:
            self._emit(stt.SpeechEventType.START_OF_SPEECH, speech_start_time=time.time())
            self._emit(stt.SpeechEventType.FINAL_TRANSCRIPT, " ".join(self._kept))
            self._emit(stt.SpeechEventType.END_OF_SPEECH, speech_end_time=time.time())
            self._kept.clear()

    def _emit(
        self,
        kind: stt.SpeechEventType,
        text: str = "",
        *,
        speech_start_time: float | None = None,
        speech_end_time: float | None = None,
    ) -> None:
        alternatives = [stt.SpeechData(language=self._language, text=text, confidence=1.0)] if text else []  # type: ignore[arg-type]
        event = stt.SpeechEvent(
            type=kind,
            alternatives=alternatives,
            speech_start_time=speech_start_time,
            speech_end_time=speech_end_time,
        )
        try:
            self._events.put_nowait(event)
        except asyncio.QueueFull:
            log.exception("speech_event_dropped", kind=str(kind))


def _since_1970(at: float) -> float:
    """A time of `time.monotonic` by the clock that the session goes by."""
    return time.time() - (time.monotonic() - at)
