"""The bundled brain: says the passage that answers, or that it does not know, and takes a message.

It writes nothing of its own beyond fixed sentences, so that it cannot invent; and the caller's words only choose
among them, so that they cannot instruct it. All it knows is in the messages of the request.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from local.models import heard
from local.models.draft import TAKING, Draft, Stage, Turn, answered, corrected, heard_so_far, opened, stage, to_change
from switchboard.passages import ANSWERS, Passage, parse

_DATA_ROLES = frozenset(("system", "developer"))
_LONGEST_TURN = 2_000
_TWO_QUESTIONS = re.compile(
    r"\?\s*\S+.*\?|\b(?:and|also|or|plus)\s+(?:also\s+)?(?:what|when|where|how|is|are|do|does|can|could|will|would)\b",
    re.I,
)
_PERSONA = re.compile(r"^You are ([^.\n]{1,100})\.")
_HOURS = re.compile(r"Opening hours today: ([^.\n]{1,100})\. It is (open|closed) now")
_EMERGENCY = re.compile(r"in an emergency, say exactly this: ([^\n]{1,500})")
_DANGER = re.compile(
    r"\b(?:(?:can't|cannot|can not|not|stopped|hard to) breath(?:e|ing)|heart attack|unconscious|overdos\w+|"
    r"suicid\w+|kill (?:my|him|her)self|(?:there(?:'s| is) a|is on) fire|"
    r"ambulance|nine one one|911|having a stroke)\b",
    re.I,
)
_OPEN_TODAY = re.compile(
    r"(?:hi |hello |hey )?"
    r"(?:(?:are you|you are|you're|is (?:it|the (?:office|place|practice|clinic|hotel|shop)))(?: guys)?"
    r"(?: still)? (?:open|closed)(?: now| right now| today| at the moment)?|"
    r"(?:until when|till when|how late|how long|when|what time) (?:are|do) you (?:open|close)(?: until| till)? today|"
    r"what are your (?:opening )?hours today)",
    re.I,
)
_OPEN = re.compile(
    r"(?:hi |hello |hey )?"
    r"(?:(?:when|what time|until when|till when|how late|how long) (?:are|do) you (?:open|close)(?: until| till)?|"
    r"what(?:'s| is| are) your (?:opening |business |office )?(?:hours|times))",
    re.I,
)
_SPAN = re.compile(r"(\d\d):(\d\d)\s*-\s*(\d\d):(\d\d)")

_UNKNOWN = ("I'm sorry, I don't know that.", "I'm afraid I don't know that.", "Sorry, I don't know about that.")
_OFFERS = ("Shall I take a message?", "Would you like me to take a message?", "Shall I take a message for you?")
_ELSE = "Is there anything else I can help with?"
_ASK = {
    Stage.NAME: "I will gladly take a message. What is your name?",
    Stage.NUMBER: "Thank you. What number can we call you back on?",
    Stage.TEXT: "Thank you. What shall I pass on?",
    Stage.CHANGE: "What shall I change, the name, the number or the message?",
}
_ASK_AGAIN = {
    Stage.NAME: "May I have your name, please?",
    Stage.NUMBER: "Could you say the number again, digit by digit?",
    Stage.TEXT: "What shall I pass on?",
    Stage.CONFIRM: "Is the message right as I read it?",
    Stage.CHANGE: "What shall I change, the name, the number or the message?",
}
_BACK_TO = {**_ASK_AGAIN, Stage.NUMBER: "Back to your message, what number can we call you back on?"}


@dataclass(frozen=True, slots=True)
class ToolCall:
    name: str
    arguments: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reply:
    """What to say, or which tools to call; never both, and never neither but for an empty text."""

    text: str | None
    tool_calls: tuple[ToolCall, ...] = ()


@dataclass(frozen=True, slots=True)
class _Talk:
    """The request, read."""

    prompt: str  # system and developer messages
    turns: tuple[Turn, ...]  # up to the caller's last turn
    words: str  # the caller's last turn
    last: str  # our last turn
    passages: Sequence[Passage] | None  # None: nobody looked
    looked_up: bool
    done: str  # the tool whose result came in after the caller's last turn
    tools: frozenset[str]

    @property
    def asked(self) -> Stage:
        return stage(self.last)

    def found(self) -> list[Passage]:
        return [passage for passage in self.passages or () if passage.score >= ANSWERS]


def answer(messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]] | None = None) -> Reply:
    """The reply to a conversation in the shape of chat completions. The same request gives the same reply."""
    talk = _read(messages, tools or ())
    if talk.done == "take_message":
        return Reply(f"Thank you, I have passed it on. {_ELSE}")
    if talk.done == "end_call":
        return Reply("")
    if not talk.words.strip():
        return Reply("Hello. How can I help you?")
    if _DANGER.search(talk.words) and (fixed := _EMERGENCY.search(talk.prompt)):
        return Reply(fixed.group(1).strip())
    if talk.asked in TAKING:
        return _while_taking(talk)
    return _after_question(talk) or _small_talk(talk) or _request(talk) or _from_knowledge(talk)


def _after_question(talk: _Talk) -> Reply | None:
    """A bare yes or no, read by what we asked last."""
    if heard.is_goodbye(talk.words):
        return _end(talk)
    if talk.asked is Stage.OFFER and heard.is_yes(talk.words):
        return Reply(_ASK[Stage.NAME])
    if talk.asked is Stage.OFFER and heard.is_no(talk.words):
        return Reply(f"All right. {_ELSE}")
    if talk.asked is Stage.ANYTHING_ELSE and (heard.is_no(talk.words) or heard.is_thanks(talk.words)):
        return _end(talk)
    if talk.asked is Stage.ANYTHING_ELSE and heard.is_yes(talk.words):
        return Reply("Of course. What would you like to know?")
    return None


def _small_talk(talk: _Talk) -> Reply | None:
    words = talk.words
    if heard.asks_again(words):
        return Reply(talk.last or "Hello. How can I help you?")
    if heard.is_how_are_you(words):
        return Reply("I'm fine, thank you. How can I help you?")
    if heard.is_hello(words):
        return Reply("Hello. How can I help you?")
    if heard.is_thanks(words):
        return Reply(f"You're welcome. {_ELSE}")
    if heard.asks_who(words):
        return Reply(f"I'm {_of(talk.prompt)}AI assistant, a computer and not a person. How can I help you?")
    if (heard.is_yes(words) or heard.is_no(words)) and not heard.wants_message(words):
        return Reply("All right. How can I help you?")
    return None


def _request(talk: _Talk) -> Reply | None:
    if heard.wants_message(talk.words) and "take_message" in talk.tools:
        return _next(opened(talk.words))
    if heard.wants_human(talk.words):
        return Reply(f"I'm an AI assistant and can't put you through. {_offer(talk)}")
    return None


def _from_knowledge(talk: _Talk) -> Reply:
    if _OPEN_TODAY.fullmatch(heard.plain(talk.words)) and (hours := _hours(talk)):
        return Reply(hours)
    if _must_look(talk):
        return Reply(None, (ToolCall("look_up", {"query": talk.words}),))
    return Reply(_said(talk) or _hours_at_least(talk) or f"{_unknown(talk)} {_offer(talk)}")


def _must_look(talk: _Talk) -> bool:
    return talk.passages is None and not talk.looked_up and "look_up" in talk.tools


def _said(talk: _Talk) -> str:
    """The passage that answers, or two when two things were asked; empty when none does."""
    found = talk.found()
    if not found:
        return ""
    said = found[:2] if _TWO_QUESTIONS.search(talk.words) else found[:1]
    return " ".join(passage.say for passage in said)


def _while_taking(talk: _Talk) -> Reply:
    words = talk.words
    if heard.is_goodbye(words) and talk.asked is not Stage.CONFIRM:
        return _end(talk)
    if heard.drops_message(words):
        return Reply(f"All right, no message. {_ELSE}")
    if heard.asks_again(words):
        return Reply(talk.last)
    draft = heard_so_far(talk.turns)
    if _asks_aside(talk):
        return _aside(talk)
    if talk.asked is Stage.CONFIRM:
        return _confirmed(draft, words)
    if talk.asked is Stage.CHANGE:
        return _changed(draft, words)
    new = answered(draft, talk.asked, words)
    return Reply(_ASK_AGAIN[talk.asked]) if new.missing() is talk.asked else _next(new)


def _asks_aside(talk: _Talk) -> bool:
    """Whether the caller asks something in the middle of a message, rather than answering us."""
    if not heard.is_question(talk.words) or len(talk.words.split()) < 3 or heard.number(talk.words):
        return False
    return bool(talk.found()) or talk.asked in {Stage.NAME, Stage.NUMBER} or _must_look(talk)


def _aside(talk: _Talk) -> Reply:
    if _must_look(talk):
        return Reply(None, (ToolCall("look_up", {"query": talk.words}),))
    return Reply(f"{_said(talk) or _unknown(talk)} {_BACK_TO[talk.asked]}")


def _confirmed(draft: Draft, words: str) -> Reply:
    new = corrected(draft, words)
    if new != draft:
        return _next(new)
    if heard.is_yes(words):
        return Reply(None, (ToolCall("take_message", _arguments(draft)),))
    part = to_change(words)
    if part:
        return Reply(_ASK_AGAIN[part])
    return Reply(_ASK[Stage.CHANGE] if heard.is_no(words) else _ASK_AGAIN[Stage.CONFIRM])


def _changed(draft: Draft, words: str) -> Reply:
    new = corrected(draft, words)
    if new != draft:
        return _next(new)
    part = to_change(words)
    return Reply(_ASK_AGAIN[part] if part else _ASK[Stage.CHANGE])


def _next(draft: Draft) -> Reply:
    needed = draft.missing()
    if needed is not Stage.CONFIRM:
        return Reply(_ASK[needed])
    text = draft.text.rstrip(" .?!")
    number = "without a number" if draft.number == heard.NO_NUMBER else f"at {heard.spelled(draft.number)}"
    return Reply(f"Let me read that back. {draft.name}, {number}. The message: {text}. Is that right?")


def _arguments(draft: Draft) -> dict[str, str]:
    return {"name": draft.name, "number": draft.number, "text": draft.text}


def _end(talk: _Talk) -> Reply:
    if "end_call" in talk.tools:
        return Reply(None, (ToolCall("end_call"),))
    return Reply("Thank you for calling. Goodbye.")


def _unknown(talk: _Talk) -> str:
    return _UNKNOWN[_times_unknown(talk) % len(_UNKNOWN)]


def _offer(talk: _Talk) -> str:
    return _OFFERS[_times_unknown(talk) % len(_OFFERS)] if "take_message" in talk.tools else _ELSE


def _times_unknown(talk: _Talk) -> int:
    return sum("I don't know" in turn.text for turn in talk.turns if turn.speaker == "us")


def _of(prompt: str) -> str:
    found = _PERSONA.match(prompt)
    return f"{found.group(1)}'s " if found else "an "


def _hours_at_least(talk: _Talk) -> str:
    """Today's hours, for who asks about opening hours in general where no fact surely answers."""
    return _hours(talk) if _OPEN.fullmatch(heard.plain(talk.words)) else ""


def _hours(talk: _Talk) -> str:
    """Today's opening hours; empty when the prompt has none."""
    found = _HOURS.search(talk.prompt)
    if not found:
        return ""
    spans = [_spoken_span(*span) for span in _SPAN.findall(found.group(1))]
    if not spans:
        return f"We are closed today. {_ELSE}"
    return f"We are {found.group(2)} now. Today's hours are {' and '.join(spans)}."


def _spoken_span(from_hour: str, from_minute: str, to_hour: str, to_minute: str) -> str:
    if (from_hour, to_hour) == ("00", "24"):
        return "around the clock"
    return f"{_spoken_time(int(from_hour), from_minute)} to {_spoken_time(int(to_hour), to_minute)}"


def _spoken_time(hour: int, minute: str) -> str:
    half = "AM" if hour % 24 < 12 else "PM"
    return f"{(hour - 1) % 12 + 1}{'' if minute == '00' else ' ' + minute} {half}"


def _read(messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]]) -> _Talk:
    prompt = "\n\n".join(_text(message) for message in messages if message.get("role") in _DATA_ROLES)
    at = max((at for at, message in enumerate(messages) if message.get("role") == "user"), default=-1)
    results = [one for one in _results(messages[at + 1 :], messages) if at >= 0]
    turns = tuple(_turns(messages[: at + 1]))
    ours = [turn.text for turn in turns if turn.speaker == "us" and turn.text]
    looked = [parse(text) for name, text in results if name == "look_up"]
    return _Talk(
        prompt=prompt,
        turns=turns,
        words=turns[-1].text if turns and turns[-1].speaker == "caller" else "",
        last=ours[-1] if ours else "",
        passages=next((one for one in reversed(looked) if one is not None), parse(prompt)),
        looked_up=bool(looked),
        done=next((name for name, _ in reversed(results) if name != "look_up"), ""),
        tools=frozenset(str(tool.get("function", tool).get("name", "")) for tool in tools),
    )


def _turns(messages: Sequence[Mapping[str, Any]]) -> Iterator[Turn]:
    """The spoken turns; what a caller said in several messages without a reply between is one turn."""
    said: list[str] = []
    for message in messages:
        role, text = message.get("role"), _text(message)[:_LONGEST_TURN]
        if role == "user":
            said.append(text)
            continue
        if role != "assistant":
            continue
        if said and (text or message.get("tool_calls")):
            yield Turn("caller", " ".join(said))
            said = []
        if any(name == "take_message" for name, _ in _calls(message)):
            yield Turn("us", "", passed_on=True)
        if text:
            yield Turn("us", text)
    if said:
        yield Turn("caller", " ".join(said))


def _results(after: Sequence[Mapping[str, Any]], messages: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    names = {call_id: name for message in messages for name, call_id in _calls(message)}
    for message in after:
        if message.get("role") == "tool":
            yield str(message.get("name") or names.get(str(message.get("tool_call_id")), "")), _text(message)


def _calls(message: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for call in message.get("tool_calls") or ():
        yield str(call.get("function", {}).get("name", "")), str(call.get("id", ""))


def _text(message: Mapping[str, Any]) -> str:
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return " ".join(str(part.get("text", "")) for part in content if isinstance(part, Mapping))


def as_message(reply: Reply, make_id: Sequence[str] | None = None) -> dict[str, Any]:
    """The reply as an assistant message; the ids of its tool calls are `call_0`, `call_1` … by default."""
    message: dict[str, Any] = {"role": "assistant", "content": reply.text}
    if reply.tool_calls:
        ids = make_id or [f"call_{at}" for at in range(len(reply.tool_calls))]
        message["tool_calls"] = [
            {"id": one, "type": "function", "function": {"name": call.name, "arguments": json.dumps(call.arguments)}}
            for one, call in zip(ids, reply.tool_calls, strict=True)
        ]
    return message
