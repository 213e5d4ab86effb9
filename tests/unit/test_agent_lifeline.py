"""The lifeline between a worker and its job processes, with real processes and signals; the clock is ours."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

import pytest

from agent import lifeline
from agent.lifeline import CHECK_S, Hello, Lifelines

CALL = UUID("00000000-0000-4000-8000-000000000001")
WHO = Hello(call_id=CALL, attempt=2, room="call_1", job="AJ_1")
DEADLINE_S = 10.0

# A job process: holds its lifeline until it is told how to end by a line on its standard input.
JOB = """
import asyncio, os, sys
from agent.lifeline import Hello, Lifeline

async def main():
    line = Lifeline(sys.argv[1], orphaned=lambda: os._exit(9))
    with line.held(Hello.model_validate_json(sys.argv[2])):
        print("up", flush=True)
        word = (await asyncio.to_thread(sys.stdin.readline)).strip()
        if word == "free":
            line.free()
            word = (await asyncio.to_thread(sys.stdin.readline)).strip()
        if word == "over":
            line.over()
    await asyncio.to_thread(sys.stdin.readline)

asyncio.run(main())
"""


class Worker:
    """The worker's end with a clock of its own; `lost` is what was told."""

    def __init__(self) -> None:
        self.lost: list[tuple[Hello, str]] = []
        self.now = 100.0
        self.children: set[int] = {os.getpid()}
        self.lines = Lifelines(
            lambda who, why: self.lost.append((who, why)), mine=self.children.__contains__, clock=lambda: self.now
        )

    def pass_time(self, seconds: float) -> None:
        """Time goes by, with checks as often as they should be."""
        for _ in range(round(seconds / CHECK_S)):
            self.now += CHECK_S
            self.lines.check()

    async def job(self) -> asyncio.subprocess.Process:
        """A job process that has said who it is."""
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", JOB, self.lines.address, WHO.model_dump_json(), stdin=pipe, stdout=pipe
        )
        self.children.add(process.pid)
        assert process.stdout is not None
        await asyncio.wait_for(process.stdout.readline(), DEADLINE_S)
        await until(lambda: bool(self.lines.calls()))
        return process


async def until(condition: object) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not condition():  # type: ignore[operator]  # noqa: ASYNC110
            await asyncio.sleep(0.005)


@asynccontextmanager
async def started() -> AsyncIterator[tuple[Worker, asyncio.subprocess.Process]]:
    worker = Worker()
    async with worker.lines.open():
        process = await worker.job()
        try:
            yield worker, process
        finally:
            if process.returncode is None:
                process.kill()
            await process.communicate()


async def test_a_process_that_is_killed_is_lost_at_once() -> None:
    async with started() as (worker, process):
        (held,) = worker.lines.calls()
        assert held.pid == process.pid
        assert held.shown().items() >= {"call_id": str(CALL), "attempt": 2, "room": "call_1", "job": "AJ_1"}.items()
        process.kill()
        await until(lambda: worker.lost)
        assert worker.lost == [(WHO, "died")]
        assert worker.lines.calls() == []


async def test_a_process_that_hangs_is_killed_and_lost() -> None:
    async with started() as (worker, process):
        process.send_signal(signal.SIGSTOP)
        worker.pass_time(1.8)
        assert (worker.lost, process.returncode) == ([], None)
        worker.pass_time(0.6)
        await until(lambda: worker.lost)
        assert worker.lost == [(WHO, "hung")]
        assert await asyncio.wait_for(process.wait(), DEADLINE_S) == -signal.SIGKILL


async def test_a_process_that_stands_still_for_a_second_goes_on() -> None:
    async with started() as (worker, process):
        process.send_signal(signal.SIGSTOP)
        worker.pass_time(1.0)
        process.send_signal(signal.SIGCONT)
        for _ in range(3):
            ticked = worker.now
            await until(lambda: any(line.deadline > ticked + 1.9 for line in worker.lines.lines))  # noqa: B023
            worker.pass_time(1.6)
        assert (worker.lost, process.returncode) == ([], None)


async def test_a_worker_that_was_busy_itself_kills_nobody() -> None:
    async with started() as (worker, process):
        process.send_signal(signal.SIGSTOP)
        for _ in range(5):
            worker.now += 3.0
            worker.lines.check()
        await asyncio.sleep(0)
        assert (worker.lost, process.returncode) == ([], None)


async def test_a_process_whose_part_is_over_is_not_lost() -> None:
    async with started() as (worker, process):
        assert process.stdin is not None
        assert not worker.lines.served("AJ_1")
        process.stdin.write(b"over\n")
        await until(lambda: not worker.lines.calls())
        assert worker.lines.served("AJ_1")
        assert not worker.lines.served("AJ_2")
        worker.pass_time(3.0)
        process.stdin.write(b"\n")
        assert await asyncio.wait_for(process.wait(), DEADLINE_S) == 0
        await until(lambda: not worker.lines.lines)
        assert worker.lost == []
        assert worker.lines.served("AJ_1")


async def test_a_process_that_nothing_more_is_heard_of_takes_no_slot_and_is_missed_if_it_dies() -> None:
    async with started() as (worker, process):
        assert process.stdin is not None
        process.stdin.write(b"free\n")
        await until(lambda: worker.lines.served("AJ_1"))
        assert [held.who for held in worker.lines.calls()] == [WHO]
        process.kill()
        await until(lambda: worker.lost)
        assert worker.lost == [(WHO, "died")]


async def test_a_process_that_leaves_its_caller_is_lost_once_it_is_dead() -> None:
    async with started() as (worker, process):
        assert process.stdin is not None
        process.stdin.write(b"left\n")
        await until(lambda: not worker.lines.calls())
        assert worker.lost == []
        worker.pass_time(0.8)
        await until(lambda: worker.lost)
        assert worker.lost == [(WHO, "left")]
        assert await asyncio.wait_for(process.wait(), DEADLINE_S) == -signal.SIGKILL


async def test_a_process_that_does_not_end_after_its_part_is_ended_without_a_word() -> None:
    async with started() as (worker, process):
        assert process.stdin is not None
        process.stdin.write(b"over\n")
        await until(lambda: not worker.lines.calls())
        worker.pass_time(31.0)
        assert await asyncio.wait_for(process.wait(), DEADLINE_S) == -signal.SIGKILL
        await until(lambda: not worker.lines.lines)
        assert worker.lost == []


async def test_a_worker_in_a_hurry_ends_all_its_calls() -> None:
    async with started() as (worker, process):
        worker.lines.end_all()
        await asyncio.wait_for(worker.lines.all_dead(), DEADLINE_S)
        assert worker.lost == [(WHO, "left")]
        assert await process.wait() == -signal.SIGKILL


async def test_a_process_notices_that_its_worker_is_gone() -> None:
    async with started() as (worker, process):
        for line in list(worker.lines.lines):
            line.drop()
        assert await asyncio.wait_for(process.wait(), DEADLINE_S) == 9
        assert worker.lost == []


@pytest.mark.parametrize(
    "sent",
    [b"\0\xff" * 50 + b"\n", b'{"call_id": "me", "attempt": 1}\n', b"x" * 100_000, b"[]\n", b"over and out\n", b"\n"],
)
async def test_nonsense_ends_the_connection_and_no_process(sent: bytes) -> None:
    worker = Worker()
    async with worker.lines.open():
        reader, writer = await _stranger(worker)
        writer.write(sent)
        with pytest.raises((ConnectionError, EOFError)):
            await asyncio.wait_for(reader.readexactly(1), DEADLINE_S)
        writer.close()
    assert worker.lost == []


async def test_who_does_not_say_who_it_is_and_who_is_no_job_process_is_not_listened_to() -> None:
    worker = Worker()
    async with worker.lines.open():
        silent, held = await _stranger(worker)
        await until(lambda: worker.lines.lines)
        worker.pass_time(2.4)
        assert await asyncio.wait_for(silent.read(), DEADLINE_S) == b""
        worker.children.clear()
        other, also_held = await _stranger(worker)
        assert await asyncio.wait_for(other.read(), DEADLINE_S) == b""
        held.close()
        also_held.close()
    assert worker.lost == []


async def test_connections_have_a_cap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifeline, "MOST_LINES", 1)
    worker = Worker()
    async with worker.lines.open():
        _first, held = await _stranger(worker)
        await until(lambda: worker.lines.lines)
        second, also_held = await _stranger(worker)
        assert await asyncio.wait_for(second.read(), DEADLINE_S) == b""
        assert len(worker.lines.lines) == 1
        held.close()
        also_held.close()


async def test_without_a_worker_nothing_is_missed() -> None:
    line = lifeline.Lifeline("switchboard-of-nobody", orphaned=lambda: os._exit(9))
    with line.held(WHO):
        line.over()


async def _stranger(worker: Worker) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    made = socket.socket(socket.AF_UNIX)
    made.setblocking(False)
    made.connect(f"\0{worker.lines.address}")
    return await asyncio.open_unix_connection(sock=made)
