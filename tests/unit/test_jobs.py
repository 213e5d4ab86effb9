"""Jobs without a database: the schedule's times, the catalogue, and the schema that the engine expects."""

from datetime import UTC, datetime, timedelta
from importlib.resources import files

import pytest

from control.db import migrate
from control.jobs.catalogue import CATALOGUE, catalogue
from control.jobs.job import Job, Queue
from control.jobs.schedule import SCHEDULE, Every
from tests.trial_jobs import refused

HOUR, DAY, WEEK = timedelta(hours=1), timedelta(days=1), timedelta(weeks=1)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("every", "now", "due"),
    [
        (Every("k", HOUR), "2026-03-02T12:59:59", "2026-03-02T12:00"),
        (Every("k", HOUR), "2026-03-02T13:00", "2026-03-02T13:00"),
        (Every("k", timedelta(minutes=20)), "2026-03-02T13:39:59", "2026-03-02T13:20"),
        (Every("k", DAY, after=2 * HOUR), "2026-03-02T01:59", "2026-03-01T02:00"),
        (Every("k", DAY, after=2 * HOUR), "2026-03-02T02:00:01", "2026-03-02T02:00"),
        (Every("k", WEEK, after=3 * HOUR), "2026-03-02T03:00", "2026-03-02T03:00"),
        (Every("k", WEEK, after=3 * HOUR), "2026-03-02T02:59", "2026-02-23T03:00"),
        (Every("k", HOUR), "1969-12-31T23:30", "1969-12-31T23:00"),
    ],
)
def test_the_latest_tick_is_due(every: Every, now: str, due: str) -> None:
    assert every.due(at(now)) == at(due)


def test_a_ticks_task_has_one_id_wherever_it_is_made() -> None:
    one, other, noon = Every("one", HOUR), Every("other", HOUR), at("2026-03-02T12:00")
    assert one.task(noon) == Every("one", HOUR).task(one.due(noon + timedelta(minutes=59)))
    assert len({one.task(noon), one.task(noon + HOUR), other.task(noon)}) == 3


def test_what_is_scheduled_is_in_the_catalogue() -> None:
    assert {every.kind for every in SCHEDULE} <= set(CATALOGUE)


def test_a_kind_is_in_the_catalogue_once() -> None:
    assert catalogue([Job("a", refused), Job("b", refused)]).keys() == {"a", "b"}
    with pytest.raises(ValueError, match="two jobs of the kind a"):
        catalogue([Job("a", refused), Job("a", refused)])


def test_queues_have_the_priorities_that_users_know() -> None:
    assert {queue.value: queue.priority for queue in Queue} == {
        **{"ai_high_priority": 9, "ai_processing": 6, "default": 5},
        **{"crawling": 4, "embeddings": 3, "housekeeping": 2},
    }


def test_the_schema_in_our_migration_is_that_of_the_installed_procrastinate() -> None:
    """One that differs needs a migration of ours, of the files that Procrastinate has for it."""
    [ours] = migrate.FOLDER.glob("*_procrastinate.sql")
    _comment, _, schema = ours.read_text(encoding="utf-8").partition("\n\n")
    assert schema == (files("procrastinate") / "sql" / "schema.sql").read_text(encoding="utf-8")
