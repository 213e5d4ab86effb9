"""What keeps the database tidy: statements that may run at any time, and again."""

from collections.abc import Mapping
from pathlib import Path

from control.db.pool import changed
from control.db.queries import load
from control.jobs.job import QUERIES, Result, Run

_ACCESS = load(Path(__file__).parent.parent / "access")
_CONVERSATIONS = load(Path(__file__).parent.parent / "conversations")
STATEMENT_S = 120.0
# What is of no use any more, and what has an expiry, each with the statement that ends it.
CLEAN_UP = {
    "jobs": QUERIES["forget_jobs"],
    "tasks": QUERIES["forget_tasks"],
    "refused_facts": QUERIES["forget_refused_facts"],
    "codes": _CONVERSATIONS["forget_codes"],
}
EXPIRIES = {
    "api_keys": _ACCESS["expire_keys"],
    "browser_sessions": _ACCESS["forget_sessions"],
    "sign_in_links": _ACCESS["forget_links"],
}


async def clean_up(run: Run) -> Result:
    """Removes what ended long ago; how many rows of each."""
    return await _each(run, CLEAN_UP)


async def expire(run: Run) -> Result:
    """Ends what has an expiry that is over; how many rows of each."""
    return await _each(run, EXPIRIES)


async def _each(run: Run, statements: Mapping[str, str]) -> dict[str, int]:
    done: dict[str, int] = {}
    for what, statement in statements.items():
        await run.progress(len(done) / len(statements), what)
        async with run.database.session() as connection:
            done[what] = changed(await connection.execute(statement, timeout=STATEMENT_S))
    return done
