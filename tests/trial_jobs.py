"""A job worker with jobs for tests beside its own: `python -m tests.trial_jobs`, told like `control.worker`.

What they do can be counted: each effect, and each beginning of a held job, is a row of `trials`.
"""

import sys
from datetime import timedelta

from control import worker
from control.db.pool import Connection, Database
from control.jobs.catalogue import CATALOGUE, catalogue
from control.jobs.job import Job, JobError, Passing, Queue, Result, Run
from control.jobs.schedule import Every
from tests.facts import until

SECRET = "sk-what-nobody-may-read"
TABLE = """
CREATE TABLE IF NOT EXISTS trials (
    number bigint GENERATED ALWAYS AS IDENTITY, task uuid NOT NULL, what text NOT NULL, attempt integer NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE TABLE IF NOT EXISTS gates (task uuid PRIMARY KEY)
"""


async def _note(connection: Connection, run: Run, what: str) -> None:
    await connection.execute(
        "INSERT INTO trials (task, what, attempt) VALUES ($1, $2, $3)", run.task, what, run.attempt
    )


async def note(run: Run) -> Result:
    """One effect, and the end."""
    async with run.completing({"said": run.args.get("say")}) as connection:
        await _note(connection, run, "effect")
    return None


async def held(run: Run) -> Result:
    """Begins, waits for its gate, has its effect."""
    await _begun(run)
    await run.progress(0.5, "half of it")

    async def open_now() -> bool:
        async with run.database.session() as connection:
            return bool(await connection.fetchval("SELECT EXISTS (SELECT FROM gates WHERE task = $1)", run.task))

    await until(open_now, within_s=600)
    return await note(run)


async def flaky(run: Run) -> Result:
    """Goes well once it went wrong as often as it was told to."""
    await _begun(run)
    if run.faults < run.args["faults"]:
        raise Passing("It is too early.")
    return {"faults": run.faults}


async def refused(run: Run) -> Result:
    raise JobError("There is no such thing.")


async def broken(run: Run) -> Result:
    raise ValueError(SECRET)


async def reporting(run: Run) -> Result:
    """Says how far it is; the first word counts, and what is said right after is left out."""
    await run.progress(0.4, "beginning")
    await run.progress(0.2, "never told")
    return None


async def _begun(run: Run) -> None:
    async with run.database.session() as connection:
        await _note(connection, run, "begun")


async def prepare(database: Database) -> None:
    """Makes the tables that the jobs write to."""
    async with database.session() as connection:
        await connection.execute(TABLE)


CATALOGUE_OF_TESTS = catalogue(
    (
        *CATALOGUE.values(),
        Job("note", note),
        Job("urgent", note, Queue.AI_HIGH_PRIORITY),
        Job("crawled", note, Queue.CRAWLING),
        Job("held", held, Queue.AI_PROCESSING),
        Job("flaky", flaky, pauses_s=(0.1, 0.2, 0.4)),
        Job("refused", refused),
        Job("broken", broken),
        Job("endless", held, limit_s=0.3),
        Job("reporting", reporting),
    )
)
SCHEDULE_OF_TESTS = (Every("note", timedelta(hours=1)),)

if __name__ == "__main__":
    sys.exit(worker.main(catalogue=CATALOGUE_OF_TESTS, schedule=()))
