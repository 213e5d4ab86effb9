"""Memory (PSS) of every process of the stack: idle, and with one to four calls that talk."""

import argparse
import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack

import numpy as np

from bench import processes
from bench.figures import Figures, Target
from bench.script import Script
from bench.sounds import Utterance, utterances
from bench.stack import BenchFailed, Measured
from bench.talk import Talk, talk
from local.phone.caller import Caller

CALLS = 4
# Until processes that wait for the next call are there again.
SETTLE_S = 4.0
SENTENCES = ("What time is breakfast served?", "Do you have a parking garage?")


async def weigh(options: argparse.Namespace, found: Measured) -> Figures:
    """PSS by part, idle and then with each further call after its first two turns, all of them talking."""
    sentences = await utterances(SENTENCES, options.voice)
    figures = Figures("memory", {"models": options.models})
    address = found.stack.sip(options.number)
    async with Script(found.scripted) as script, Caller() as caller:
        await script.teach(sentences)
        weights = [await _weight(found)]
        figures.memory_mib["idle, MiB by part"] = weights[0]
        async with AsyncExitStack() as calls, asyncio.TaskGroup() as talking:
            live: list[Talk] = []
            chats: list[asyncio.Task[None]] = []
            for number in range(1, CALLS + 1):
                live.append(await calls.enter_async_context(talk(caller, address)))
                first = asyncio.Event()
                chats.append(talking.create_task(_converse(live[-1], sentences, first)))
                await first.wait()
                weights.append(await _weight(found))
                figures.memory_mib[f"{number} calls, MiB by part"] = weights[-1]
                if any(one.call.ended.done() for one in live):
                    raise BenchFailed("a call ended while the stack was weighed.")
            for chat in chats:
                chat.cancel()
    totals = [round(sum(one.values()), 1) for one in weights]
    slope = float(np.polyfit(range(len(totals)), totals, 1)[0])
    figures.memory_mib["idle and with 1 to 4 calls, MiB"] = ", ".join(f"{one:g}" for one in totals)
    figures.memory_mib["one more call, MiB"] = round(slope, 1)
    figures.targets = [
        Target("idle stack, MiB", totals[0], 1_300),
        Target("one more call, MiB", round(slope, 1), 160),
    ]
    return figures


async def _converse(talking: Talk, sentences: Sequence[Utterance], first: asyncio.Event) -> None:
    """Talks until cancelled, since a silent call is ended; `first` is set after a turn of each sentence."""
    while True:
        for sentence in sentences:
            await talking.turn(sentence)
        first.set()


async def _weight(found: Measured) -> dict[str, float]:
    await asyncio.sleep(SETTLE_S)
    return await asyncio.to_thread(processes.memory, found.stack)
