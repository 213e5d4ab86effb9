"""What the scripted models are told: times, reply, failures, known utterances; and how often they were asked."""

import base64
import binascii
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, cast

from local.models import recognise, sound, timing, wire
from local.models.tones import Tones

Kind = Literal["stt", "llm", "tts"]
KINDS: tuple[Kind, ...] = ("stt", "llm", "tts")
# A `stall` comes in the middle of an answer that was good so far: words, sound, or for hearing the headers alone.
FAILURES = ("error", "hang", "half_open", "stall")
VOICES = ("speech", "tones")
MAX_UTTERANCES = 1_000
MAX_REPLY = 10_000
NO_CODE = "You gave me no code."
DEFAULT_REPLY = (
    "Breakfast is served from seven until half past ten every morning, "
    "and on weekends the kitchen stays open for an hour longer for late risers."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """Milliseconds from a request to its answer; `leading_silence_ms` stands before every spoken sentence."""

    stt_ms: float = 150.0
    first_token_ms: float = 200.0
    token_ms: float = 10.0
    tts_ms: float = 100.0
    leading_silence_ms: float = 230.0


@dataclass(frozen=True, slots=True)
class ScriptedCall:
    """A tool call to answer with."""

    name: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ScriptedReply:
    """What the language model answers."""

    text: str | None = DEFAULT_REPLY
    tool_calls: Sequence[ScriptedCall] = ()
    recall: bool = False

    def to(self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]] | None) -> "ScriptedReply":
        """The reply to these messages: with `recall` the digits that the user said in them, before the text.

        Tools are called once, and of those that are offered: behind a tool's result, or where there is none of them,
        it is the text.
        """
        if self.tool_calls:
            offered = {tool.get("function", {}).get("name") for tool in tools or ()}
            left = () if messages[-1].get("role") == "tool" else self.tool_calls
            calls = tuple(call for call in left if call.name in offered)
            return ScriptedReply(None if calls else self.text or DEFAULT_REPLY, calls)
        if not self.recall:
            return self
        digits = ", ".join(re.findall(r"\d", " ".join(map(_said_by_user, messages))))
        code = f"The code is {digits}." if digits else NO_CODE
        return replace(self, text=f"{code} {self.text}" if self.text else code)


@dataclass(slots=True)
class Script:
    """The state of the scripted models."""

    times: Times = field(default_factory=Times)
    reply: ScriptedReply = field(default_factory=ScriptedReply)
    failures: dict[Kind, str] = field(default_factory=dict)
    utterances: list[recognise.Utterance] = field(default_factory=list)
    asked: Counter[str] = field(default_factory=Counter)
    heard: list[str] = field(default_factory=list)
    tones: Tones | None = None
    """Set: every process speaks in a tone of its own."""

    def read_voice(self, told: Mapping[str, Any]) -> None:
        """Speech, or a tone for each process. Raises Refused."""
        if told.get("voice") not in VOICES:
            raise wire.Refused(f"voice is none here: send {' or '.join(VOICES)}", param="voice")
        self.tones = Tones() if told["voice"] == "tones" else None

    def read_times(self, told: Mapping[str, Any]) -> None:
        """Sets the times that are named. Raises Refused."""
        names = Times.__dataclass_fields__
        for name, value in told.items():
            if name not in names or not _number(value) or not 0 <= value <= 60_000:
                raise wire.Refused(f"{name} is no time here: send {', '.join(names)}, each 0 to 60000", param=name)
        self.times = replace(self.times, **told)

    def read_failures(self, told: Mapping[str, Any]) -> None:
        """Sets or (null) ends failures. Raises Refused."""
        for name, value in told.items():
            if name not in KINDS or value not in (*FAILURES, None):
                known = f"{', '.join(KINDS)}, each {', '.join(FAILURES)} or null"
                raise wire.Refused(f"{name} cannot fail so: send {known}", param=name)
        for kind in KINDS:
            if kind in told:
                self.failures.pop(kind, None)
                if told[kind]:
                    self.failures[kind] = told[kind]

    def read_reply(self, told: Mapping[str, Any]) -> None:
        """Sets the text, the tool calls, or both; none of them gives the default back. `recall`: it begins with the
        digits that the user has said. Raises Refused."""
        text, calls = told.get("text"), told.get("tool_calls") or []
        if text is not None and (not isinstance(text, str) or len(text) > MAX_REPLY):
            raise wire.Refused(f"text is no string of at most {MAX_REPLY} characters: send one", param="text")
        if not isinstance(calls, list) or not all(map(_is_call, calls)):
            raise wire.Refused('tool_calls is no list of {"name", "arguments"}: send one', param="tool_calls")
        made = tuple(ScriptedCall(call["name"], call.get("arguments") or {}) for call in calls)
        if told.get("recall") is True:
            self.reply = ScriptedReply(text, made, recall=True)
        else:
            self.reply = ScriptedReply(text, made) if text or made else ScriptedReply()

    def read_utterances(self, told: Mapping[str, Any]) -> None:
        """Adds utterances. Raises Refused."""
        entries = told.get("utterances")
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise wire.Refused("utterances is no list of objects: send one", param="utterances")
        if len(self.utterances) + len(entries) > MAX_UTTERANCES:
            raise wire.Refused(f"there would be over {MAX_UTTERANCES} utterances: DELETE the old ones first")
        self.utterances += [_utterance(entry) for entry in entries]


def _utterance(entry: Mapping[str, Any]) -> recognise.Utterance:
    text, encoded, times = entry.get("text"), entry.get("wav_base64"), entry.get("words")
    if not isinstance(text, str) or not isinstance(encoded, str):
        raise wire.Refused("an utterance has no text or no wav_base64: send both", param="utterances")
    try:
        signal, rate = sound.read_wav(base64.b64decode(encoded, validate=True))
    except (binascii.Error, sound.NotWav) as wrong:
        raise wire.Refused(f"the sound of {text[:40]!r} cannot be read: {wrong}", param="utterances") from None
    words = _words(text, times) if times else timing.spread(text, sound.to_samples(signal), rate)
    return recognise.Utterance.of(words, signal, rate)


def _words(text: str, times: object) -> tuple[timing.Word, ...]:
    try:
        words = tuple(timing.Word(str(word), float(end)) for word, end in cast("list[list[Any]]", times))
    except (TypeError, ValueError):
        raise wire.Refused(
            f'words of {text[:40]!r} is no [["word", end_s], …]: send it so', param="utterances"
        ) from None
    return words


def _said_by_user(message: Mapping[str, Any]) -> str:
    """The words of a message of the user's; none of anybody else's."""
    if message.get("role") != "user":
        return ""
    content = message.get("content")
    parts = content if isinstance(content, list) else [{"text": content}]
    return " ".join(str(part.get("text") or "") for part in parts if isinstance(part, dict))


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_call(call: object) -> bool:
    return (
        isinstance(call, dict) and isinstance(call.get("name"), str) and isinstance(call.get("arguments") or {}, dict)
    )
