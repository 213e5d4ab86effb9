"""Workers killed with -9 in mid-job: `python -m bench.jobs` says what ran again, how soon, and what happened twice.

Four workers have one job each and are killed at once, again and again, each time with four new ones started right
after. Of every other job the end falls together with the kill, so that some die with their effect just committed.
"""

import argparse
import asyncio
import random
import signal
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from bench.figures import Figures, Spread, Target, show
from tests.facts import until
from tests.job_worker import JobWorker, Workshop, workshop

WORKERS = 4
AGAIN_S = 90.0
# A racing job sees its gate within some 20 ms, and is at its end then.
RACE_S = 0.04
WAIT_S = 180.0


async def run(kills: int, chance: random.Random) -> Figures:
    """One job a kill. Counts effects in the database, and times from the kill to the next beginning."""
    figures = Figures("jobs", {"kills": kills, "workers": WORKERS})
    async with workshop() as shop:
        for first in range(0, kills, WORKERS):
            figures.cases += await _round(shop, min(WORKERS, kills - first), chance)
        effects = [row["task"] for row in await shop.trials("effect")]
        figures.counts["tasks"] = {
            row["state"]: row["count"] for row in await shop.rows("SELECT state, count(*) FROM tasks GROUP BY state")
        }
    again = Spread.of(case["again_s"] for case in figures.cases)
    done, doubled = len({*effects}), len(effects) - len({*effects})
    figures.spreads["kill to running again"] = again
    figures.counts |= {
        "effects, once each": f"{done} of {kills}",
        "doubled effects": doubled,
        "had ended when they were killed": sum(case["again_s"] is None for case in figures.cases),
    }
    figures.targets = [
        Target("jobs done", done, kills, at_least=True),
        Target("doubled effects", doubled, 0),
        Target("running again, p95 in seconds", again.p95 if again else None, AGAIN_S),
    ]
    return figures


async def _round(shop: Workshop, jobs: int, chance: random.Random) -> list[Mapping[str, Any]]:
    async with AsyncExitStack() as stack:
        workers = [await _entered(stack, shop) for _ in range(jobs)]
        tasks = [await shop.enqueue("held") for _ in range(jobs)]
        for task in tasks:
            await shop.begun(task, 1, WAIT_S)
        await asyncio.gather(*(shop.open_gate(task) for task in tasks[1::2]))
        await asyncio.sleep(chance.uniform(0, RACE_S))
        killed_at = datetime.now(UTC)
        await asyncio.gather(*(worker.end(signal.SIGKILL) for worker in workers))
        for _ in range(jobs):
            await _entered(stack, shop)
        return [await _case(shop, task, killed_at) for task in tasks]


async def _entered(stack: AsyncExitStack, shop: Workshop) -> JobWorker:
    return await stack.enter_async_context(shop.worker("--at-once", "1"))


async def _case(shop: Workshop, task: UUID, killed_at: datetime) -> Mapping[str, Any]:
    """What became of a task whose worker was killed; `again_s` is None when it had ended by then."""

    async def ended_or_again() -> bool:
        status = await shop.jobs.status(task)
        return bool(status and status.finished_at) or len(await shop.trials("begun", task)) > 1

    await until(ended_or_again, WAIT_S)
    await shop.open_gate(task)
    ended = await shop.ended(task, WAIT_S)
    begun = [row["at"] for row in await shop.trials("begun", task)]
    again_s = (begun[1] - killed_at).total_seconds() if len(begun) > 1 else None
    return {"task": str(task), "state": ended.state, "attempts": ended.attempts, "again_s": again_s}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.jobs", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=100, help="how many workers are killed (100)")
    parser.add_argument("--seed", type=int, default=round(time.time()), help="of the moments of the kills")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures, and every case, as JSON")
    options = parser.parse_args()
    show(asyncio.run(run(options.kills, random.Random(options.seed))), options.json)


if __name__ == "__main__":
    main()
