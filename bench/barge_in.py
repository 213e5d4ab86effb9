"""`python -m bench.barge_in`: interruptions with words, and noises that are none, while the agent speaks.

Words: from the caller's first sound until the agent is silent at the caller's ear, and what was said then is not
taken up again. Noises: the agent goes on, after a pause of at most a second, says all of its reply once and
nothing else, and no turn is made of the noise.
"""

import argparse
import asyncio
import itertools
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bench import facts
from bench.figures import Figures, Spread, Target
from bench.options import main, parser
from bench.script import Script
from bench.sounds import Utterance, backchannel, cough, throat, utterances
from bench.stack import BenchFailed, Measured
from bench.talk import Said, Talk, talk
from local.phone import listen
from local.phone.caller import Caller
from local.phone.listen import Interval

QUESTIONS = (
    "What can you tell me about the rooms?",
    "What is there to do in the evening?",
    "How do I get to you from the airport?",
    "What should I know about breakfast?",
)
LONG = (
    "We have forty two rooms on five floors, most of them with a view of the harbor, and every one has a desk, "
    "a kettle and a bath. The upper floors are quiet at night."
)
SHORT = "Of course, go ahead."
WORDS = (
    "Sorry, can I stop you there?",
    "Wait, I have another question.",
    "No, that is not what I asked.",
    "Hold on a second, please.",
    "Actually, I wanted to know the price.",
    "Excuse me, do you have parking?",
    "Stop, I already know that.",
    "Can I speak to a person instead?",
    "I only need the address.",
    "Let me ask something else.",
    "Could you say that more slowly?",
    "That is enough, thank you.",
    "What about next weekend?",
    "I need a room for three people.",
    "Please just tell me the time.",
    "My train leaves in ten minutes.",
    "How much does it cost?",
    "Are dogs allowed in the rooms?",
    "I want to cancel my booking.",
    "Which floor is the quietest?",
)
# With the seconds that a listener takes to say them.
BACKCHANNELS = {"Mm hmm.": 0.5, "Uh huh.": 0.4, "Yeah.": 0.35, "Okay.": 0.45, "Right.": 0.4}
OTHER_VOICE = "flite:rms"
NOISES = 20
TRIES_A_CALL = 5
# How far into the reply the caller makes a sound.
INTO_REPLY_S = (1.0, 4.0)
LONGEST_PAUSE_S = 1.0
# Loud frames of the same reply differ by less than this when it is said once and whole.
SAME_S = 0.3
# A gap that is looked at: from the noise until so long after it.
AFTER_NOISE_S = 3.0
BREATH_S = 0.6
LONGEST_S = 2.0
OVER_S = 1.5


@dataclass(frozen=True, slots=True)
class Try:
    """One sound over the agent's voice: when each side was heard (seconds of the recording), and what it caused."""

    kind: str
    said: Said
    question: Said
    until: float
    asked: Mapping[str, int]


async def run(options: argparse.Namespace, found: Measured) -> Figures:
    """The words, then the noises."""
    questions = await utterances(QUESTIONS, options.voice)
    words = await utterances(WORDS[: options.words], options.voice)
    noises = (await _noises(options.voice))[: options.noises]
    figures = Figures("barge-in", {"models": options.models, "words": len(words), "noises": len(noises)})
    if found.scripted is None:
        raise BenchFailed("barge-in needs a reply of known length: use --models scripted or mixed.")
    async with Script(found.scripted) as script, Caller() as caller:
        # A cough has no words, so hearing is not told of it.
        await script.teach([*questions, *words, *(one for one in noises if one.spoken.words)])
        bench = _Bench(options, found, script, caller, questions)
        for at in range(0, len(words), TRIES_A_CALL):
            figures.cases += await bench.interruptions(words[at : at + TRIES_A_CALL])
        for at in range(0, len(noises), TRIES_A_CALL):
            figures.cases += await bench.noises(noises[at : at + TRIES_A_CALL])
    _fill(figures)
    return figures


async def _noises(voice: str) -> list[Utterance]:
    """Backchannels of two speakers, coughs and throats, five of each."""
    first = [await backchannel(text, seconds, voice) for text, seconds in BACKCHANNELS.items()]
    second = [await backchannel(text, seconds, OTHER_VOICE) for text, seconds in BACKCHANNELS.items()]
    return [*first, *map(cough, range(5)), *second, *map(throat, range(5))]


@dataclass(frozen=True, slots=True)
class _Bench:
    options: argparse.Namespace
    found: Measured
    script: Script
    caller: Caller
    questions: Sequence[Utterance]

    async def interruptions(self, words: Sequence[Utterance]) -> list[Mapping[str, Any]]:
        async with talk(self.caller, self.found.stack.sip(self.options.number)) as talking:
            tries = [await self._sound_over_reply(talking, at, one, then=SHORT) for at, one in enumerate(words)]
        stereo = await talking.recorded(self.options.record)
        record = await facts.record(self.found.stack, talking.call.call_id)
        users = record.said_by("user")
        return [_interruption(stereo, one, users) for one in tries if one] + _not_made(tries)

    async def noises(self, noises: Sequence[Utterance]) -> list[Mapping[str, Any]]:
        async with talk(self.caller, self.found.stack.sip(self.options.number)) as talking:
            await self.script.reply(LONG)
            await talking.turn(self.questions[-1])
            whole = talking.said[0]
            tries = [await self._sound_over_reply(talking, at, one, then=None) for at, one in enumerate(noises)]
        stereo = await talking.recorded(self.options.record)
        record = await facts.record(self.found.stack, talking.call.call_id)
        users = record.said_by("user")
        agent = listen.speech(stereo[:, 1], hangover=0.0, shortest=0.0)
        full = _loud_s(agent, whole.ended, talking.said[1].began)
        return [_noise(agent, stereo, one, full, users) for one in tries if one] + _not_made(tries)

    async def _sound_over_reply(self, talking: Talk, at: int, sound: Utterance, then: str | None) -> Try | None:
        """Asks, waits until the agent is well into its reply, makes the sound, and hears what follows to its end.

        None when there is no reply to make a sound in.
        """
        await self.script.reply(LONG)
        question = await talking.say(self.questions[at % (len(self.questions) - 1)])
        if not await talking.reply_begins(question):
            return None
        await asyncio.sleep(random.uniform(*INTO_REPLY_S))
        if then is not None:
            await self.script.reply(then)
        before = await self.script.asked()
        said = await talking.say(sound)
        if then is not None:
            # Silent first, then the new reply.
            await talking.reply_begins(replace(said, ended=said.ended + 0.3))
        await talking.call.wait_silence(60.0, lasting=OVER_S)
        after = await self.script.asked()
        until = talking.call.last_sound - talking.call.recording.started + 0.05
        asked = {kind: after[kind] - before[kind] for kind in after}
        return Try(sound.text, said, question, until, asked)


def _not_made(tries: Sequence[Try | None]) -> list[Mapping[str, Any]]:
    return [{"kind": "no reply to the question before"} for one in tries if one is None]


def _interruption(stereo: listen.Stereo, one: Try, users: Sequence[facts.Line]) -> Mapping[str, Any]:
    """How long the agent went on, and how much it said afterwards."""
    began, ended = _first_sound(stereo, one.said), _last_sound(stereo, one.said)
    # A breath between two clauses is no silence: what was said before and goes on after it is one.
    agent = listen.speech(stereo[:, 1], hangover=BREATH_S)
    spoken = next((found for found in agent if found.end > began), None)
    silent_at = spoken.end if spoken and spoken.start <= began else began
    reply = next((found.start for found in agent if found.start > silent_at), None)
    return {
        "kind": "words",
        "sound": one.kind,
        "at_s": round(began, 2),
        "silent_after_s": round(silent_at - began, 3),
        "agent heard again before the caller's end": bool(reply is not None and reply < ended),
        "voice_to_voice": None if reply is None else round(reply - ended, 3),
        "said afterwards_s": round(_loud_s(agent, silent_at, one.until), 2),
        "heard as": _heard_as(one, users),
        "asked": one.asked,
    }


def _noise(
    agent: Sequence[Interval], stereo: listen.Stereo, one: Try, full: float, users: Sequence[facts.Line]
) -> Mapping[str, Any]:
    """Whether the reply went on: its pause, and how much of it was heard compared with `full` seconds."""
    began = _first_sound(stereo, one.said)
    reply = [part for part in agent if part.start >= one.question.ended - 0.1 and part.end <= one.until]
    loud = _loud_s(reply, 0.0, one.until)
    pause = _longest_gap(reply, began, _last_sound(stereo, one.said) + AFTER_NOISE_S)
    heard = _heard_as(one, users)
    new_turns = max(one.asked.get("llm", 0), int(bool(heard)))
    faults = {
        "paused too long": pause > LONGEST_PAUSE_S,
        "said again or more": loud > full + SAME_S,
        "not said to the end": loud < full - SAME_S,
        "a turn was made of it": new_turns > 0,
    }
    return {
        "kind": "noise",
        "sound": one.kind,
        "at_s": round(began, 2),
        "pause_s": round(pause, 3),
        "reply_loud_s": round(loud, 2),
        "whole_reply_loud_s": round(full, 2),
        "heard as": heard,
        "asked": one.asked,
        "goes on": not any(faults.values()),
        "faults": [name for name, is_so in faults.items() if is_so],
    }


def _first_sound(stereo: listen.Stereo, said: Said) -> float:
    return _sounds(stereo, said)[0].start


def _last_sound(stereo: listen.Stereo, said: Said) -> float:
    return _sounds(stereo, said)[-1].end


def _sounds(stereo: listen.Stereo, said: Said) -> list[Interval]:
    ours = listen.speech(stereo[:, 0], shortest=0.02)
    found = [part for part in ours if part.end > said.began - 0.1 and part.start < said.ended + 0.1]
    if not found:
        raise BenchFailed(f"{said.what.text!r} is not in the caller's channel of the recording.")
    return found


def _heard_as(one: Try, users: Sequence[facts.Line]) -> list[str]:
    """Turns on record between the sound and the end of what followed it."""
    length = one.until - one.said.ended
    return [user.text for user in users if -0.5 < user.at - one.said.ended_at < length + 0.5]


def _loud_s(parts: Sequence[Interval], start: float, end: float) -> float:
    return sum(max(min(part.end, end) - max(part.start, start), 0.0) for part in parts)


def _longest_gap(parts: Sequence[Interval], start: float, end: float) -> float:
    """The longest silence that begins before `end` and ends after `start`; what follows the last part is none."""
    pairs = itertools.pairwise(parts)
    return max((b.start - a.end for a, b in pairs if b.start > start and a.end < end), default=0.0)


def _fill(figures: Figures) -> None:
    words = [one for one in figures.cases if one["kind"] == "words"]
    noises = [one for one in figures.cases if one["kind"] == "noise"]
    silent = Spread.of(one["silent_after_s"] for one in words)
    goes_on = sum(bool(one["goes on"]) for one in noises)
    figures.spreads = {
        "silent after words": silent,
        "end of words to new reply": Spread.of(one["voice_to_voice"] for one in words),
        "pause at a noise": Spread.of(one["pause_s"] for one in noises),
    }
    figures.counts |= {
        "silent only at the reply's end": sum(one["silent_after_s"] > LONGEST_S for one in words),
        "heard again while the caller speaks": sum(one["agent heard again before the caller's end"] for one in words),
        "questions without a reply, so nothing to interrupt": len(figures.cases) - len(words) - len(noises),
        "words without a turn": sum(not one["heard as"] for one in words),
        "goes on after a noise": f"{goes_on} of {len(noises)}",
    }
    for one in noises:
        if one["faults"]:
            figures.counts[f"  {one['sound']} ({', '.join(one['faults'])})"] = f"pause {one['pause_s']:.2f} s"
    figures.targets = [
        Target("silent after words p50", silent.p50 if silent else None, 0.45),
        Target("goes on, of 20 noises", goes_on * NOISES / len(noises) if noises else None, 17, at_least=True),
    ]


def _parser() -> argparse.ArgumentParser:
    made = parser("bench.barge_in", "How fast the agent is silent when it is interrupted, and that a cough is none.")
    made.add_argument("--words", type=int, default=len(WORDS), help="interruptions with words (20)")
    made.add_argument("--noises", type=int, default=NOISES, help="backchannels, coughs and throats (20)")
    return made


if __name__ == "__main__":
    main(_parser(), run)
