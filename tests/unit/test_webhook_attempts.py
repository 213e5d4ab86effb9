"""When a lost agent is seen as lost, and when the next one is due: time is given, nothing waits."""

import fcntl
import os
from collections.abc import Collection
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from switchboard.fact import AgentJoined, AgentLeft, AnyBody, CallEnded, Fact, Source
from switchboard.outbound import Outbound
from switchboard.outbox import folder
from switchboard.shipper import Shipper
from switchboard.stream import beat_key, connect, worker_key
from webhook.attempts import (
    ACCEPTED_WAITS_S,
    APART_S,
    EVENT_WAITS_S,
    GONE_WAITS_S,
    LONGEST_WAIT_S,
    MANY_TRIES,
    MOST_APART_S,
    TAKEN_WAITS_S,
    UNTAKEN_WAITS_S,
    Attempts,
    Progress,
)
from webhook.beats import COUNTS_AFTER_S, MISSING_S, PERIOD_S, Beating, Beats
from webhook.remains import Dead, Remains, call_in
from webhook.survey import Agent

AGENT = Beating(UUID(int=1), 1, "w1")
CALL, WORKER = beat_key(AGENT.call_id), worker_key(AGENT.worker)


class Rounds:
    """Beats, looked at once a period."""

    def __init__(self) -> None:
        self.now = 0.0
        self._beats = Beats()

    def look(self, beating: set[str] | None, *, late_s: float = 0.0, agents: tuple[Beating, ...] = (AGENT,)) -> bool:
        self.now += PERIOD_S + late_s
        return self._beats.silent(self.now, agents, beating) == [AGENT]

    def until_silent(self, beating: set[str], *, at_most_s: float = 20.0) -> float:
        """Seconds of silence until it counts."""
        began = self.now
        while self.now - began < at_most_s:
            if self.look(beating):
                return self.now - began
        raise AssertionError("it never counts")

    def well(self, seconds: float = 10.0) -> None:
        for _ in range(round(seconds / PERIOD_S)):
            assert not self.look({CALL, WORKER})


def test_an_agent_that_beats_no_more_and_whose_worker_is_silent_too_is_lost() -> None:
    rounds = Rounds()
    rounds.well()
    assert rounds.until_silent(set()) == pytest.approx(MISSING_S + PERIOD_S)


@pytest.mark.parametrize("beating", [{CALL}, {WORKER}])
def test_an_agent_is_not_lost_while_it_or_its_worker_beats(beating: set[str]) -> None:
    rounds = Rounds()
    rounds.well()
    assert not any(rounds.look(beating) for _ in range(100))


def test_an_agent_that_names_no_worker_is_not_lost() -> None:
    rounds = Rounds()
    nameless = Beating(AGENT.call_id, 1, "")
    assert not any(rounds.look(set(), agents=(nameless,)) for _ in range(100))


def test_an_agent_that_has_just_come_has_time_to_beat() -> None:
    rounds = Rounds()
    for _ in range(20):
        rounds.look({CALL, WORKER}, agents=())
    rounds.look({WORKER})
    assert rounds.until_silent(set()) >= COUNTS_AFTER_S


def test_an_agent_that_was_never_heard_is_not_lost() -> None:
    rounds = Rounds()
    assert not any(rounds.look(set()) for _ in range(100))


def test_a_redis_that_was_away_is_believed_only_after_a_while() -> None:
    rounds = Rounds()
    rounds.well()
    assert not any(rounds.look(None) for _ in range(100))
    # It came back empty.
    assert rounds.until_silent(set()) > COUNTS_AFTER_S


def test_a_redis_that_was_emptied_between_two_looks_makes_nobody_lost() -> None:
    rounds = Rounds()
    rounds.well()
    assert not any(rounds.look(set()) for _ in range(3))
    rounds.well()


def test_a_process_that_looks_too_late_starts_the_counting_again() -> None:
    rounds = Rounds()
    rounds.well()
    assert not any(rounds.look(set(), late_s=1.1) for _ in range(100))
    assert rounds.until_silent(set()) > COUNTS_AFTER_S - PERIOD_S


def _running(at: float = 0.0) -> Progress:
    """A call whose first agent came."""
    progress = Progress(at)
    progress.sent(1, at)
    progress.there(1)
    return progress


def test_an_agent_that_is_told_lost_is_replaced_at_once_and_one_that_left_after_a_moment() -> None:
    told, left = _running(), _running()
    told.lost(1, 30.0)
    assert (told.first_told(1), told.first_told(1)) == (True, False)
    told.absent(30.0)
    assert told.due_at(taken=True) <= 30.0
    left.absent(30.0)
    assert left.due_at(taken=True) == 30.0 + GONE_WAITS_S


def test_agents_that_die_at_once_are_sent_at_most_once_a_second_and_then_less_often() -> None:
    progress = Progress(0.0)
    gaps, sent_at = [], 0.0
    for attempt in range(1, 9):
        progress.sent(attempt, sent_at)
        progress.lost(attempt, sent_at + 0.1)
        gaps.append(progress.next_after() - sent_at)
        sent_at = progress.next_after()
    assert gaps[:4] == [APART_S, 2 * APART_S, 4 * APART_S, 8 * APART_S]
    assert gaps[-1] == MOST_APART_S


def test_a_dispatch_that_nobody_takes_is_waited_for_by_what_is_known_of_it() -> None:
    assert Progress(5.0).due_at(taken=False) == 5.0 + EVENT_WAITS_S
    progress = Progress(0.0)
    progress.sent(1, 0.0)
    assert progress.due_at(taken=False) == UNTAKEN_WAITS_S
    assert progress.due_at(taken=True) == TAKEN_WAITS_S
    progress.accepted(1, 1.0)
    assert progress.due_at(taken=True) == 1.0 + ACCEPTED_WAITS_S
    for attempt in range(2, MANY_TRIES + 1):
        progress.sent(attempt, 10.0)
    assert progress.due_at(taken=False) == 10.0 + LONGEST_WAIT_S


def test_when_a_worker_is_ready_callers_wait_no_longer_unless_an_agent_is_on_its_way() -> None:
    unheard, young, accepted = Progress(0.0), Progress(0.0), Progress(0.0)
    unheard.hurry()
    assert unheard.due_at(taken=False) <= 0.0
    young.sent(1, 3.0)
    young.hurry()
    assert young.due_at(taken=False) == 3.5
    accepted.sent(1, 0.0)
    accepted.accepted(1, 2.0)
    accepted.hurry()
    assert accepted.due_at(taken=True) == 7.0
    young.sent(2, 4.0)
    assert young.due_at(taken=False) == 4.0 + UNTAKEN_WAITS_S


def test_a_ready_worker_makes_agents_that_die_at_once_no_more_frequent() -> None:
    progress = Progress(0.0)
    for attempt in range(1, 4):
        progress.sent(attempt, 10.0)
        progress.lost(attempt, 10.1)
    progress.sent(4, 10.0)
    progress.hurry()
    assert progress.due_at(taken=False) == progress.next_after() == 10.0 + 4 * APART_S


def test_an_agent_is_out_of_date_when_it_is_dead_or_a_newer_one_may_come() -> None:
    call_id = uuid4()
    attempts = Attempts(lambda: 0.0)
    first, second = Agent("room", "a1", call_id, 1), Agent("room", "a2", call_id, 2)
    progress = attempts.of(call_id)
    progress.sent(1, 0.0)
    assert attempts.current(call_id, first)
    progress.sent(2, 0.0)
    assert not attempts.current(call_id, first)
    assert attempts.current(call_id, second)
    progress.refused(2, 0.0)
    assert attempts.current(call_id, first), "nobody else comes"
    progress.lost(1, 0.0)
    assert not attempts.current(call_id, first)
    assert attempts.current(call_id, Agent("room", "unnamed", None))


def test_a_call_that_is_over_is_forgotten() -> None:
    now = 0.0
    attempts = Attempts(lambda: now)
    live, over = uuid4(), uuid4()
    for one in (live, over):
        attempts.of(one)
    now = 61.0
    attempts.prune({live})
    assert (attempts.known(live), attempts.known(over)) == (True, False)


JOINED = AgentJoined(attempt=1, job="AJ_1")


@pytest.mark.parametrize(
    ("bodies", "reason"),
    [
        ([JOINED], "died"),
        ([JOINED, AgentLeft(attempt=1, job="AJ_1", reason="worker_lost")], "left"),
        ([JOINED, AgentLeft(attempt=1, job="AJ_1", reason="replaced")], None),
        ([JOINED, CallEnded(reason="caller_hung_up", duration_s=1)], None),
    ],
)
async def test_a_file_that_nobody_holds_tells_once_of_an_agent_that_left_no_end(
    tmp_path: Path, bodies: list[AnyBody], reason: str | None
) -> None:
    call_id = uuid4()
    path = folder(tmp_path) / f"{call_id}-3-AJ_1.jsonl"
    path.parent.mkdir()
    facts = (Fact(conversation_id="c", call_id=call_id, source=Source.AGENT, body=body) for body in bodies)
    path.write_text("".join(f"{one.model_dump_json()}\n" for one in facts))
    remains = Remains(tmp_path)
    writer = os.open(path, os.O_WRONLY)
    fcntl.flock(writer, fcntl.LOCK_EX)
    assert await remains.look([call_id]) == []
    os.close(writer)
    assert await remains.look([uuid4()]) == []
    assert await remains.look([call_id]) == ([Dead(call_id, 3, reason, "AJ_1")] if reason else [])  # type: ignore[arg-type]
    assert await remains.look([call_id]) == []


class AllRecorded(Shipper):
    async def unrecorded(self, ids: Collection[UUID]) -> set[UUID]:
        return set()


@pytest.mark.parametrize(
    ("bodies", "stays"), [([JOINED], True), ([JOINED, CallEnded(reason="caller_hung_up", duration_s=1)], False)]
)
async def test_the_file_of_a_dead_agent_stays_while_its_call_goes_on(
    tmp_path: Path, bodies: list[AnyBody], stays: bool
) -> None:
    call_id = uuid4()
    path = folder(tmp_path) / f"{call_id}-1-AJ_1.jsonl"
    path.parent.mkdir()
    facts = (Fact(conversation_id="c", call_id=call_id, source=Source.AGENT, body=body) for body in bodies)
    path.write_text("".join(f"{one.model_dump_json()}\n" for one in facts))
    live = {call_id}
    async with Outbound.opened([]) as outbound, connect("redis://127.0.0.1:1") as redis:
        shipper = AllRecorded(tmp_path, redis, outbound, "http://control", "", lambda path: call_in(path) in live)
        await shipper.sweep()
        assert path.exists() is stays
        live.clear()
        await shipper.sweep()
        assert not path.exists()
