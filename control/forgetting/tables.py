"""What is in the tables: each with the statement that erases what it holds of a conversation.

A table with rows of callers or conversations has its line here. The names that a statement gets are the id of the
conversation and those of its calls.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from control.conversations.log import lock
from control.db.pool import Connection, Database, changed
from control.db.queries import load

QUERIES = load(Path(__file__).parent)
STATEMENT_S = 120.0
# In this order, as the later ones are referred to by the others.
ERASED = {
    "tasks": QUERIES["erase_tasks"],
    "refused_facts": QUERIES["erase_refused_facts"],
    "audit": QUERIES["erase_audit"],
    "recordings": QUERIES["erase_recordings"],
    "events": QUERIES["erase_events"],
    "calls": QUERIES["erase_calls"],
    "codes": QUERIES["erase_codes"],
    "conversations": QUERIES["erase_conversations"],
}


async def erase(database: Database, names: Sequence[str]) -> None:
    """Erases a conversation in one transaction with what its receipt says of it."""
    conversation = names[0]
    async with database.transaction() as connection:
        await connection.execute(QUERIES["erase_turns"], conversation)
        erasure = await connection.fetchrow(QUERIES["take_erasure"], conversation)
        if erasure is None:
            # Another worker was quicker.
            return
        there = await connection.fetchrow(QUERIES["conversation"], conversation)
        # Made where it is missing: who is making it in this moment is waited for, and refused afterwards.
        await lock(connection, [conversation])
        went: dict[str, int] = dict(erasure["went"])
        for table, statement in ERASED.items():
            went[table] = changed(await connection.execute(statement, list(names), timeout=STATEMENT_S))
        await count(connection, erasure["receipt"], went | ({} if there else {"conversations": 0}))


async def count(connection: Connection, receipt: Any, went: Mapping[str, int]) -> None:
    """Adds to what a receipt says."""
    await connection.execute(QUERIES["add_went"], receipt, dict(went))
