"""What an agent says first: at the beginning of a call, or when it takes one over in the middle."""

from dataclasses import dataclass

from agent.recall import Past
from switchboard.persona import RECORDED, Persona
from switchboard.prompt import filled

LOST_YOU = "Sorry, I lost you for a second."
GO_ON = "Please go on."


@dataclass(frozen=True, slots=True)
class Greeting:
    """Said in this order; what is empty is not said. `answers`: at last what the caller said last is answered."""

    apology: tuple[str, ...] = ()
    disclosure: str = ""
    welcome: str = ""
    answers: bool = False


def greeting(persona: Persona, welcome: str, past: Past, *, lost: bool) -> Greeting:
    """`lost`: the caller was on the line already when this agent came, and has heard nobody since."""
    disclosure = announced(persona)
    if not lost:
        return Greeting(disclosure=disclosure, welcome=welcome)
    said = [_plain(text) for text in past.said]
    if _plain(disclosure) in said:
        said.remove(_plain(disclosure))
        disclosure = ""
    if said or past.turns:
        welcome = ""
    theirs = not (disclosure or welcome or past.unanswered)
    return Greeting((LOST_YOU, GO_ON) if theirs else (LOST_YOU,), disclosure, welcome, past.unanswered)


def announced(persona: Persona) -> str:
    """What is said before all else: the persona's disclosure, and of one that records also that it does."""
    if not persona.record:
        return filled(persona.disclosure, persona)
    return filled(f"{persona.disclosure} {persona.recording_disclosure}", persona).strip() or RECORDED


def _plain(text: str) -> str:
    return " ".join(text.split())
