"""What is on record once everything is back: every answered turn once, in order; every end; the right persona."""

import asyncio
import difflib
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from bench import talk as talks
from bench.disasters import ledger
from bench.disasters.scene import Row
from bench.disasters.site import Site
from bench.facts import SAME
from bench.sounds import plain
from bench.talk import Talk
from local.phone import listen
from switchboard import outbox

RECORDED_S = 60.0
# What was put on the stream again is given 30 s to be recorded before its file is looked at once more.
EMPTY_S = 90.0
# Whoever is one of these answers for personas here: the Persona API is control's own.
ASKED_FOR_PERSONAS = {"persona api", "control", "postgres"}


@dataclass(frozen=True, slots=True)
class Spoken:
    """A call as its recording has it: each thing that the caller said, and the seconds to the reply, if any came."""

    talk: Talk
    turns: Sequence[tuple[str, float | None]]

    @property
    def waits(self) -> list[float | None]:
        return [wait for _text, wait in self.turns]


async def spoken(talking: Talk) -> Spoken:
    stereo = await talking.recorded(None)
    # A call may end while its caller speaks.
    said = [one for one in talking.said if one.ended < len(stereo) / listen.RATE]
    heard = talks.heard(stereo, said)
    return Spoken(talking, [(one.text, _in_time(one.voice_to_voice)) for one in heard])


def _in_time(wait: float | None) -> float | None:
    """What comes later is no reply: the caller has given the turn up, and another agent may say something."""
    return None if wait is None or wait > talks.REPLY_LIMIT_S else wait


async def on_record(
    found: Site, calls: Sequence[Spoken], since: float
) -> tuple[list[Row], list[ledger.Entry | None]]:
    """Rows about the record of these calls, with what control has of each. `since`: when everything was back."""
    entries = [await ledger.ended(found.stack, one.talk.call.call_id, RECORDED_S) for one in calls]
    took = time.monotonic() - since
    faults = [fault for one, entry in zip(calls, entries, strict=True) for fault in faults_in(one, entry)]
    empty = await _until_empty(found, since)
    return [
        Row("turns and ends on record once, in order", "; ".join(faults) or f"{len(calls)} calls", "all", not faults),
        Row("all on record after its end", f"{took:.0f} s", f"≤ {RECORDED_S:.0f} s", took <= RECORDED_S),
        Row("no facts left in files after its end", _after(empty), f"≤ {EMPTY_S:.0f} s", empty is not None),
    ], entries


def faults_in(call: Spoken, entry: ledger.Entry | None) -> list[str]:
    """What is missing, doubled or out of order in the record of a call. A turn without a reply may be missing."""
    name = call.talk.call.call_id
    if entry is None or entry.status != "ended":
        return [f"{name}: not on record as ended"]
    found = []
    seqs = [one["seq"] for one in entry.events]
    if seqs != list(range(1, len(seqs) + 1)):
        found.append(f"seq {seqs}")
    if len({one["id"] for one in entry.events}) != len(entry.events):
        found.append("a fact twice")
    if entry.count("call_ended") != 1:
        found.append(f"{entry.count('call_ended')} ends")
    recorded = [one["text"] for one in entry.lines if one["role"] == "user"]
    if not _follows(recorded, call.turns):
        found.append(f"said {list(call.turns)}, on record {recorded}")
    return [f"{name}: {one}" for one in found]


def _follows(recorded: Sequence[str], turns: Sequence[tuple[str, float | None]]) -> bool:
    """Whether the record has the turns in order, each once, those without a reply or not."""
    at = 0
    for text, wait in turns:
        if at < len(recorded) and _alike(recorded[at], text):
            at += 1
        elif wait is not None:
            return False
    return at == len(recorded)


def _alike(one: str, other: str) -> bool:
    """On a busy machine the first word may be cut off."""
    return difflib.SequenceMatcher(None, plain(one), plain(other)).ratio() >= SAME


def wrong_persona(away: Collection[str], entry: ledger.Entry | None, *, known: bool) -> str | None:
    """A sentence when another persona answered than is right while these parts are away."""
    if entry is None:
        return None
    asked = bool(ASKED_FOR_PERSONAS & set(away))
    wanted = {"cache", "stale", "api"} if known else {"default"} if asked else {"api"}
    found = [(one["source"], one["persona"]) for one in entry.bodies("persona_resolved")[:1]]
    if found and found[0][0] in wanted:
        return None
    return f"{'known' if known else 'new'} number: {found}"


async def _until_empty(found: Site, since: float) -> float | None:
    while time.monotonic() - since < EMPTY_S:
        if not await asyncio.to_thread(outbox.abandoned, found.stack.home):
            return time.monotonic() - since
        await asyncio.sleep(0.5)
    return None


def _after(seconds: float | None) -> str:
    return f"after {seconds:.0f} s" if seconds is not None else f"still after {EMPTY_S:.0f} s"
