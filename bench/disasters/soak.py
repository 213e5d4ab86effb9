"""Many short calls: what is left of them in memory, open files, sockets, rooms, Redis and the home."""

import asyncio
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psutil
from livekit import api
from redis.asyncio import Redis

from bench import processes
from bench.disasters import ledger
from bench.disasters.scene import Options, Row, none_of
from bench.disasters.talking import Ground, caller_number, ground, many
from bench.stack import BenchFailed, Measured
from switchboard import stream

CALLS, QUICK_CALLS, AT_ONCE = 500, 24, 6
# Before the first look: every process has done everything once.
WARM_UP = 24
# Until the last call is on record, the processes for the next ones are there again, and LiveKit's runtime, Go's, has
# collected garbage: it does so every 2 min at the latest.
SETTLE_S = 150.0
# What a part may have more afterwards. Memory is not given back at once, and Postgres fills its shared buffers.
MORE_MIB, MORE_SHARE = 15.0, 0.10
MORE_POSTGRES_MIB = 80.0
MORE_FILES = MORE_SOCKETS = 6
# Kept for 15 min by design: an event that comes again is known.
REMEMBERED = "webhook:seen:"


@dataclass(frozen=True, slots=True)
class Part:
    """What the processes of one part hold."""

    mib: float
    processes: int
    files: int
    sockets: int


@dataclass(frozen=True, slots=True)
class Look:
    """What is there while no call runs."""

    parts: Mapping[str, Part]
    rooms: int
    keys: Mapping[str, int]
    remembered: int
    files: Mapping[str, int] = field(default_factory=dict)


async def run(options: Options) -> list[Row]:
    """A look, the calls, a look."""
    count = options.count(CALLS, QUICK_CALLS)
    at_once = options.at_once or AT_ONCE
    async with options.stack() as found, ground(found, options) as place:
        await many(WARM_UP if not options.quick else at_once, at_once, lambda _: _short(place))
        before = await _look(found)
        ids: list[str | None] = []

        async def one(_at: int) -> None:
            ids.append(await _short(place))

        await many(count, at_once, one)
        after = await _look(found)
        missing = sum([await ledger.read(found.stack, one) is None for one in ids])
    options.cases.append({"scenario": "soak", "calls": count, "before": asdict(before), "after": asdict(after)})
    failed = sum(one is None for one in ids)
    return [none_of(f"{count} short calls: not served", failed), *_rows(before, after), *_missing(missing - failed)]


def _missing(missing: int) -> list[Row]:
    return [none_of("  calls that are not on record", missing)]


async def _short(place: Ground) -> str | None:
    """A greeting and one turn; its id, None when it got none of that."""
    try:
        talking = await place.greeted(caller_number())
    except BenchFailed:
        return None
    try:
        said = await talking.say(place.words.sentence())
        replied = await talking.reply_begins(said)
    finally:
        await talking.call.hang_up()
    return talking.call.call_id if replied else None


async def _look(found: Measured) -> Look:
    await asyncio.sleep(SETTLE_S)
    stack = found.stack
    parts = await asyncio.to_thread(lambda: {name: _part(held) for name, held in processes.parts(stack).items()})
    async with stack.livekit() as livekit:
        rooms = len((await livekit.room.list_rooms(api.ListRoomsRequest())).rooms)
    redis = stream.connect(stack.env["REDIS_URL"], timeout_s=5)
    try:
        keys = await _keys(redis)
    finally:
        await redis.aclose()
    remembered = keys.pop(REMEMBERED.rstrip(":"), 0)
    return Look(parts, rooms, dict(keys), remembered, _files(stack.home))


async def _keys(redis: Redis) -> Counter[str]:
    """How many keys there are of each kind: what is an id in them left out."""
    found: Counter[str] = Counter()
    async for key in redis.scan_iter(count=1_000):
        if str(key).startswith(REMEMBERED):
            found[REMEMBERED.rstrip(":")] += 1
        else:
            found[re.sub(r"[0-9a-f-]{20,}|\+?\d{5,}", "*", str(key))] += 1
    return found


def _files(home: Path) -> dict[str, int]:
    """Files by folder; Postgres' and Redis' own are theirs to keep."""
    found = Counter(
        file.relative_to(home).parts[0] if len(file.relative_to(home).parts) > 1 else "."
        for file in home.rglob("*")
        if file.is_file()
    )
    return {name: count for name, count in found.items() if name not in ("postgres", "redis")}


def _part(held: list[psutil.Process]) -> Part:
    mib, files, sockets, alive = 0.0, 0, 0, 0
    for one in held:
        try:
            mib += one.memory_full_info().pss / processes.MIB
            files += one.num_fds()
            sockets += len(one.net_connections("all"))
            alive += 1
        except psutil.Error:
            continue
    return Part(round(mib, 1), alive, files, sockets)


def _rows(before: Look, after: Look) -> list[Row]:
    rows = [
        _part_row(name, before.parts[name], part)
        for name, part in after.parts.items()
        if name in before.parts and name not in ("callers", "scripted models")
    ]
    rows.append(Row("  LiveKit rooms", f"{before.rooms} → {after.rooms}", "0", after.rooms == 0))
    rows.append(_same("  Redis keys", before.keys, after.keys))
    remembered = f"{before.remembered} → {after.remembered}"
    rows.append(Row("  of events seen, which expire after 15 min", remembered, "", met=True))
    rows.append(_same("  files in the home", before.files, after.files))
    return rows


def _part_row(name: str, before: Part, after: Part) -> Row:
    more = MORE_POSTGRES_MIB if name == "postgres" else max(MORE_MIB, MORE_SHARE * before.mib)
    good = (
        after.mib - before.mib <= more
        and after.files - before.files <= MORE_FILES
        and after.sockets - before.sockets <= MORE_SOCKETS
        and after.processes <= before.processes + 1
    )
    figure = (
        f"{before.mib:.0f} → {after.mib:.0f} MiB, files {before.files} → {after.files},"
        f" sockets {before.sockets} → {after.sockets}, processes {before.processes} → {after.processes}"
    )
    return Row(f"  {name}", figure, f"+{more:.0f} MiB, +{MORE_FILES} files, +{MORE_SOCKETS} sockets", good)


def _same(what: str, before: Mapping[str, int], after: Mapping[str, int]) -> Row:
    grown = {name: f"{before.get(name, 0)} → {count}" for name, count in after.items() if count > before.get(name, 0)}
    figure = f"{sum(before.values())} → {sum(after.values())}"
    if grown:
        figure += f" ({', '.join(f'{name} {change}' for name, change in grown.items())})"
    return Row(what, figure, "no more", not grown)
