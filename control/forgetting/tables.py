"""What is in the tables: each with the statement that erases what it holds of a conversation.

A table with rows of callers or conversations has its line here.

Whoever writes down that facts came again, and whoever erases, take rows in one order: erasures, tasks, receipts.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from uuid import UUID

from control.conversations.log import lock
from control.db.pool import Connection, Database, changed
from control.db.queries import load

QUERIES = load(Path(__file__).parent)
STATEMENT_S = 120.0
# What names a conversation or a number anywhere in a text: looked through for many of them at once.
LOOKED_THROUGH = {
    "tasks": QUERIES["erase_tasks"],
    "refused_facts": QUERIES["erase_refused_facts"],
}
# In this order, as the later ones are referred to by the others. The statements get the id of the conversation and
# those of its calls.
OWN = {
    "audit": QUERIES["erase_audit"],
    "recordings": QUERIES["erase_recordings"],
    "events": QUERIES["erase_events"],
    "calls": QUERIES["erase_calls"],
    "codes": QUERIES["erase_codes"],
    "conversations": QUERIES["erase_conversations"],
}
ERASED = (*LOOKED_THROUGH, *OWN)


async def look_through(database: Database, receipts: Mapping[str, UUID]) -> None:
    """Erases what has one of these names as a text of JSON, in one transaction with the counts on the receipts."""
    async with database.transaction() as connection:
        await _look_through(connection, receipts)


async def look_for_numbers(database: Database, spellings: Mapping[UUID, Sequence[str]]) -> None:
    """The same for the numbers of these receipts, which are known to them until then."""
    for receipt, names in spellings.items():
        async with database.transaction() as connection:
            await _look_through(connection, dict.fromkeys(names, receipt))
            await connection.execute(QUERIES["look_for"], receipt, [])


async def _look_through(connection: Connection, receipts: Mapping[str, UUID]) -> None:
    words = [json.dumps(name, ensure_ascii=False)[1:-1].replace('\\"', "\\u0022") for name in receipts]
    of = list(receipts.values())
    went: dict[UUID, Counter[str]] = {receipt: Counter() for receipt in of}
    for table, statement in LOOKED_THROUGH.items():
        for row in await connection.fetch(statement, words, timeout=STATEMENT_S):
            went[of[row["place"] - 1]][table] += 1
    for receipt in sorted(went):
        await count(connection, receipt, went[receipt])


async def erase(database: Database, conversation: str, calls: Sequence[UUID], *, whole: bool) -> None:
    """Erases a conversation's own rows in one transaction with what its receipt says of it.

    Not `whole`, something of it may still lie elsewhere: its erasure stays, and keeps the counts until then.
    """
    names = [conversation, *map(str, calls)]
    async with database.transaction() as connection:
        await connection.execute(QUERIES["erase_turns"], conversation)
        erasure = await connection.fetchrow(QUERIES["take_erasure" if whole else "hold_erasure"], conversation)
        if erasure is None:
            # Another worker was quicker.
            return
        there = await connection.fetchval(QUERIES["is_there"], conversation)
        # Made where it is missing: who is making it in this moment is waited for, and refused afterwards.
        await lock(connection, [conversation])
        went = Counter[str](erasure["went"])
        for table, statement in OWN.items():
            went[table] += changed(await connection.execute(statement, names, timeout=STATEMENT_S))
        went["conversations"] -= not there
        if whole:
            await count(connection, erasure["receipt"], went)
        else:
            await connection.execute(QUERIES["keep_went"], conversation, dict(went))


async def count(connection: Connection, receipt: UUID, went: Mapping[str, int]) -> None:
    """Adds to what a receipt says."""
    await connection.execute(QUERIES["add_went"], receipt, dict(went))
