"""A part fails in the middle of calls, and what callers notice. `bench/chaos.py` makes the same in large numbers."""

import asyncio
import json
import tempfile
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from bench.disasters.doored import doored
from bench.disasters.killed import QUICK_PHASES, kills
from bench.disasters.scene import Options, Row
from bench.disasters.stopped import QUICK_STOPS_S, stops
from bench.disasters.talking import ground
from bench.door import Door
from bench.stack import Measured
from tests.e2e.stack import LocalStack, scripted_models, started
from tests.promises import promise

# Twice as many are offered at once, on whatever machine this is.
FIT = 4

Cases = list[Mapping[str, Any]]


@pytest.fixture(scope="module")
def harmed() -> Iterator[tuple[Measured, Door]]:
    """A stack with scripted models that takes few calls, and the door of its webhooks."""
    with (
        tempfile.TemporaryDirectory(prefix="switchboard-chaos-") as name,
        scripted_models(Path(name) / "models.log") as models,
        doored(Path(name)) as server,
        started(Path(name) / "home", **models, **server.settings, SWITCHBOARD_MAX_CALLS=str(FIT)) as stack,
    ):
        server.leads_to(stack)
        yield Measured(stack, models["LLM_BASE_URL"].removesuffix("/v1")), server.door


@pytest.fixture
def stack(harmed: tuple[Measured, Door]) -> LocalStack:
    """So that a test that fails shows its logs."""
    return harmed[0].stack


def none(cases: Cases) -> None:
    """Fails with all that is known of these cases, when there are any."""
    assert not cases, json.dumps(cases, default=str, indent=1)


async def made(scenario: str, harmed: tuple[Measured, Door], calls: int | None = None) -> tuple[Cases, list[Row]]:
    """What happened in each call of the scenario, and its table."""
    options = Options(quick=True, calls=calls, running=harmed[0], door=harmed[1])
    rows = await import_module(f"bench.disasters.{scenario}").run(options)
    return [case for case in options.cases if case["scenario"] == scenario], rows


@promise("chaos.killed")
@promise("chaos.stopped")
@pytest.mark.usefixtures("stack")
async def test_an_agent_that_is_killed_or_stopped_is_replaced_by_one_that_remembers_and_never_talks_over_it(
    harmed: tuple[Measured, Door],
) -> None:
    options = Options(quick=True, at_once=1, running=harmed[0])
    async with ground(harmed[0], options, codes=len(QUICK_PHASES), tones=True) as place:
        await asyncio.gather(
            kills(options, place, QUICK_PHASES), *(stops(options, place, seconds) for seconds in QUICK_STOPS_S)
        )
    killed = [case for case in options.cases if case["scenario"] == "killed"]
    assert len(killed) == 3
    none([case for case in killed if not (case["good"] and case["remembered"])])
    stopped = [case for case in options.cases if case["scenario"] == "stopped"]
    assert {case["stopped_s"] for case in stopped} == {1.0, 5.0}
    none([case for case in stopped if not case["goes_on"] or case["together"] or case["came_back"]])


@promise("chaos.worker")
@pytest.mark.usefixtures("stack")
async def test_the_calls_of_a_killed_worker_go_on_with_the_next_one(harmed: tuple[Measured, Door]) -> None:
    cases, _ = await made("worker", harmed)
    assert len(cases) == 2
    none([case for case in cases if not (case["good"] and case["remembered"])])


@promise("chaos.drained")
@pytest.mark.usefixtures("stack")
async def test_a_worker_told_to_end_finishes_its_calls_and_leaves_new_ones_to_another(
    harmed: tuple[Measured, Door],
) -> None:
    cases, _ = await made("drained", harmed)
    none([case for case in cases if not case["whole"]])
    assert [case["by"] for case in cases if case["new"]] == ["second"]


@promise("chaos.overload")
@pytest.mark.usefixtures("stack")
async def test_calls_beyond_what_fits_hear_busy_and_the_others_are_served(harmed: tuple[Measured, Door]) -> None:
    cases, _ = await made("overload", harmed)
    assert len(cases) == 2 * FIT
    none([case for case in cases if not case["served"] and case["status"] != 486])
    assert [case["status"] for case in cases].count(486) == FIT


@promise("chaos.webhook")
@pytest.mark.usefixtures("stack")
async def test_without_the_webhook_service_calls_go_on_and_new_callers_are_answered_once_it_is_back(
    harmed: tuple[Measured, Door],
) -> None:
    cases, rows = await made("webhook", harmed)
    assert {case["outage"] for case in cases} == {"webhook service killed", "webhooks dropped"}
    none([case for case in cases if not case["greeted"] or case["attempts"] != 1])
    harm = [row for row in rows if "cut or given another agent" in row.what]
    assert all(row.met for row in harm), harm
