"""Who and what is forgotten: asked for over HTTP, kept from being recorded again, and forgotten anew after a restore.

A request is a receipt, tombstones, and a list of what is to be erased, all in one transaction with the job that
does it. A tombstone refuses whatever else comes of its conversation. A caller's number, known by an HMAC alone,
refuses the calls that began before the request and become known later; a call that begins after it is one of a new
caller.
"""

import asyncio
import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4, uuid5

import structlog

from control.access import Actor, audit
from control.db.pool import Connection, Database, changed, storable
from control.errors import BadRequest, Unavailable
from control.forgetting import receipt, tables
from control.forgetting.job import KIND
from control.forgetting.ledger import Entry, Ledger
from control.forgetting.receipt import Receipt
from control.forgetting.tables import QUERIES, STATEMENT_S
from control.forgetting.told import Told, digits_of
from control.jobs.job import Jobs
from switchboard.fact import CallArrived, Fact
from switchboard.settings import SettingsError

log = structlog.get_logger(__name__)

LOCK = 0x5B_0003
LATER = timedelta(seconds=15)


def hash_of(conversation: str) -> bytes:
    """How a tombstone names a conversation; Postgres makes the same of it."""
    return hashlib.sha256(storable(conversation).encode()).digest()


class Forgetting:
    """Methods that take a connection work in its transaction, and raise `DatabaseAway`."""

    def __init__(self, jobs: Jobs, ledger: Ledger) -> None:
        self._jobs = jobs
        self._ledger = ledger

    async def caller(self, connection: Connection, actor: Actor, number: str) -> Receipt:
        """Forgets a caller up to now. Raises `BadRequest` for what is no number, and `Unavailable`."""
        digits = digits_of(number)
        if digits is None:
            raise BadRequest("number: is no phone number.")
        # Whoever records a call of theirs in this moment is waited for, and seen.
        await connection.execute(QUERIES["forget_alone"], LOCK)
        number_hash = self._ledger.hashes(digits)[-1]
        made = await self._begin(connection, actor, number_hash, self._ledger.key)
        conversations = await self._of_caller(connection, made, digits, None)
        await audit(connection, actor, "caller.forgotten", str(made.id))
        return await self._asked(connection, made, number_hash, conversations)

    async def conversation(self, connection: Connection, actor: Actor, conversation: str) -> Receipt:
        """Forgets a conversation that is there. Raises `Unavailable`."""
        # As above, for whoever sets aside in this moment what could not be read.
        await connection.execute(QUERIES["forget_alone"], LOCK)
        made = await self._begin(connection, actor, None, None)
        await audit(connection, actor, "conversation.forgotten", str(made.id))
        return await self._asked(connection, made, None, {conversation})

    async def refused(self, connection: Connection, facts: Sequence[Fact]) -> Mapping[str, UUID]:
        """The conversations of these facts that are forgotten, each with its receipt.

        Until the transaction ends nobody is forgotten who called in one of the others.
        """
        arrivals = [(one, digits) for one in facts if (digits := _caller(one)) is not None]
        if arrivals:
            await connection.execute(QUERIES["look"], LOCK)
        conversations = list({storable(one.conversation_id) for one in facts})
        forgotten = {row["id"]: row["receipt"] for row in await connection.fetch(QUERIES["forgotten"], conversations)}
        for one, digits in arrivals:
            conversation = storable(one.conversation_id)
            if conversation in forgotten:
                continue
            hashes = self._ledger.hashes(digits)
            found: UUID | None = await connection.fetchval(QUERIES["receipt_of_number"], hashes, one.at)
            if found is not None:
                await self._bury(connection, found, [conversation])
                forgotten[conversation] = found
        return forgotten

    async def came_again(
        self, connection: Connection, refused: Collection[Fact], receipts: Mapping[str, UUID]
    ) -> None:
        """Looks everywhere once more in a moment: what was refused lay in Redis, and may have been on record before.

        `receipts` by conversation, as `refused` found them. Also under the names of the calls: of a call that went on
        with a conversation no row is left that tells which it was.
        """
        names: dict[UUID, set[str]] = defaultdict(set)
        for one in refused:
            conversation = storable(one.conversation_id)
            names[receipts[conversation]] |= {conversation} | ({str(one.call_id)} if one.call_id else set())
        await self._look_again(connection, names)

    async def refuses(self, connection: Connection, text: str) -> bool:
        """Whether something that is no fact here, as one of a newer version, tells of what is forgotten; until the
        transaction ends nothing is that was not. As `came_again` it has everything looked through once more."""
        told = Told.of(text)
        if told is None:
            return False
        await connection.execute(QUERIES["look"], LOCK)
        rows = await connection.fetch(QUERIES["forgotten"], told.names)
        found: UUID | None = rows[0]["receipt"] if rows else None
        if found is None and told.caller is not None:
            hashes = self._ledger.hashes(told.caller)
            found = await connection.fetchval(QUERIES["receipt_of_number"], hashes, told.at)
        if found is not None:
            await self._look_again(connection, {found: set(told.names)})
        return found is not None

    async def _look_again(self, connection: Connection, names: Mapping[UUID, Collection[str]]) -> None:
        """Of a call under way facts come all the time: not each has a job of its own, and all of it is forgotten when
        none came for a while."""
        soon = _next_look(datetime.now(UTC))
        # In the order of whoever erases: erasures, tasks, receipts.
        for id, found in sorted(names.items()):
            await self._bury(connection, id, found)
        for id in names:
            await self._jobs.enqueue(connection, KIND, task=uuid5(id, soon.isoformat()), at=soon)
        for id in sorted(names):
            await connection.execute(QUERIES["reopen"], id, soon)

    async def again(self, database: Database) -> None:
        """Brings database and ledger together: what a restored backup brought back is to be forgotten again.

        Raises `DatabaseAway`, and `SettingsError` when the file cannot be used.
        """
        try:
            async with database.transaction() as connection:
                await connection.execute(QUERIES["forget_alone"], LOCK)
                # Before anything is written down: without the key nobody would know who was forgotten.
                self._ledger.need(row["key"] for row in await connection.fetch(QUERIES["keys"]))
                entries = await asyncio.to_thread(self._ledger.entries)
                await self._restore(connection, entries)
                await self._keep_missing(connection, {one.receipt for one in entries})
        except OSError as error:
            raise SettingsError(f"SWITCHBOARD_HOME cannot be used ({error.strerror}): make it writable.") from None

    async def _begin(self, connection: Connection, actor: Actor, number: bytes | None, key: bytes | None) -> Receipt:
        id, asked_at = uuid4(), await connection.fetchval(QUERIES["now"])
        await connection.execute(QUERIES["add_receipt"], id, number, asked_at, actor.name, actor.user_id, key)
        return await receipt.read(connection, id)

    async def _asked(
        self, connection: Connection, made: Receipt, number: bytes | None, conversations: Collection[str]
    ) -> Receipt:
        await self._bury(connection, made.id, conversations)
        await self._jobs.enqueue(connection, KIND)
        entry = _entry(made.id, made.asked_at, made.asked_by, number, map(hash_of, conversations))
        try:
            # At last, but before the commit: what was promised as forgotten stays so whatever is restored.
            await asyncio.to_thread(self._ledger.add, [entry])
        except OSError as error:
            log.error("ledger_not_written", error=str(error))  # noqa: TRY400 - its trace says nothing more
            raise Unavailable("What is forgotten cannot be written down; make room on the disk.") from None
        return await receipt.read(connection, made.id)

    async def _bury(self, connection: Connection, id: UUID, conversations: Collection[str]) -> None:
        # Facts of no conversation are recorded nowhere.
        named = sorted(one for one in conversations if one)
        await connection.execute(QUERIES["add_tombstones"], [hash_of(one) for one in named], id)
        await connection.execute(QUERIES["add_erasures"], named, id)

    async def _of_caller(
        self, connection: Connection, made: Receipt, digits: str, until: datetime | None
    ) -> set[str]:
        """The conversations of a caller; what else names the number is erased at once, or by the job."""
        rows = await connection.fetch(QUERIES["calls_of_caller"], digits, until)
        theirs = [row for row in rows if digits_of(row["caller"]) == digits]
        found = await connection.fetch(QUERIES["conversations_of_calls"], [row["id"] for row in theirs])
        spellings = sorted({digits, f"+{digits}", f"00{digits}", *(row["caller"] for row in theirs)})
        blocking = await connection.execute(QUERIES["erase_blocking"], spellings)
        await connection.execute(QUERIES["look_for"], made.id, spellings)
        await tables.count(connection, made.id, {"audit": changed(blocking)})
        if blocked := await connection.fetchval(QUERIES["blocked"], digits):
            await connection.execute(QUERIES["set_kept"], made.id, {"blocklist": blocked})
        return {row["id"] for row in found}

    async def _restore(self, connection: Connection, entries: Sequence[Entry]) -> None:
        ids = [one.receipt for one in entries]
        known = {row["id"] for row in await connection.fetch(QUERIES["known_receipts"], ids)}
        missing = [one for one in entries if one.receipt not in known]
        if not missing:
            return
        for one in missing:
            number = None if one.number is None else bytes.fromhex(one.number)
            asked = one.receipt, number, one.asked_at, one.asked_by
            await connection.execute(QUERIES["add_receipt"], *asked, None, None)
            hashes = [bytes.fromhex(each) for each in one.conversations]
            await connection.execute(QUERIES["add_tombstones"], hashes, one.receipt)
        ids = [one.receipt for one in missing]
        rows = await connection.fetch(QUERIES["restored_conversations"], ids, timeout=STATEMENT_S)
        back: dict[UUID, set[str]] = defaultdict(set)
        for row in rows:
            back[row["receipt"]].add(row["id"])
        for digits, id in await self._restored_callers(connection, missing):
            made = await receipt.read(connection, id)
            back[id] |= await self._of_caller(connection, made, digits, made.asked_at)
        for id, conversations in back.items():
            await self._bury(connection, id, conversations)
        await self._jobs.enqueue(connection, KIND)
        log.warning("forgotten_again", requests=len(missing), conversations=sum(map(len, back.values())))

    async def _restored_callers(self, connection: Connection, missing: Sequence[Entry]) -> list[tuple[str, UUID]]:
        """The digits of forgotten numbers that stand in the database, with their receipts."""
        wanted: dict[str, list[UUID]] = defaultdict(list)
        for one in missing:
            if one.number is not None:
                wanted[one.number].append(one.receipt)
        rows = await connection.fetch(QUERIES["callers"], timeout=STATEMENT_S) if wanted else []
        numbers = {digits for row in rows if (digits := digits_of(row["caller"])) is not None}
        return await asyncio.to_thread(
            lambda: [
                (digits, id)
                for digits in sorted(numbers)
                for hashed in self._ledger.hashes(digits)
                for id in wanted.get(hashed.hex(), ())
            ]
        )

    async def _keep_missing(self, connection: Connection, kept: Collection[UUID]) -> None:
        """Writes down what the ledger lacks, of a home that was lost or is another one."""
        rows = await connection.fetch(QUERIES["receipts_with_tombstones"], list(kept), timeout=STATEMENT_S)
        missing = [
            _entry(row["id"], row["asked_at"], row["asked_by"], row["number"], row["conversations"]) for row in rows
        ]
        await asyncio.to_thread(self._ledger.add, missing)


def _next_look(now: datetime) -> datetime:
    """When what came again is looked for: at the end of the period after this one, so that a task is of all in it."""
    return now - (now - datetime.min.replace(tzinfo=UTC)) % LATER + 2 * LATER


def _entry(id: UUID, asked_at: datetime, asked_by: str, number: bytes | None, hashes: Iterable[bytes]) -> Entry:
    return Entry(
        receipt=id,
        asked_at=asked_at,
        asked_by=asked_by,
        number=None if number is None else number.hex(),
        conversations=tuple(one.hex() for one in hashes),
    )


def _caller(fact: Fact) -> str | None:
    """The digits of who called, in a fact that says so."""
    return digits_of(fact.body.caller) if isinstance(fact.body, CallArrived) and fact.body.caller else None
