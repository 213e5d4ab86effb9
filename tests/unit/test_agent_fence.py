"""A process that was stopped, or hangs, ends before it is heard again; a busy one goes on."""

import asyncio
import signal
import sys
import time

from agent.fence import LATE_S, LEAVE_S, STATUS, WATCH_S, Fence

DEADLINE_S = 10.0

# Says every 10 ms when it would be heard, behind the fence.
SPEAKER = """
import asyncio, time
from agent.fence import Fence

async def main():
    with Fence().raised():
        while True:
            print(time.monotonic(), flush=True)
            await asyncio.sleep(0.01)

asyncio.run(main())
"""


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


async def test_a_stopped_process_ends_before_it_is_heard_again() -> None:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", SPEAKER, stdout=pipe, stderr=pipe)
    assert process.stdout is not None
    await asyncio.wait_for(process.stdout.readline(), DEADLINE_S)
    process.send_signal(signal.SIGSTOP)
    await asyncio.sleep(LATE_S + 0.3)
    resumed = time.monotonic()
    process.send_signal(signal.SIGCONT)
    heard, errors = await asyncio.wait_for(process.communicate(), DEADLINE_S)
    assert process.returncode == STATUS
    assert all(float(at) < resumed + 0.1 for at in heard.split())
    assert b"process_ends_itself" in errors


async def test_a_loop_that_hangs_ends_the_process_and_one_that_is_busy_does_not() -> None:
    clock, ended = Clock(), list[int]()
    with Fence(clock=clock, leave=ended.append).raised():
        clock.now += LATE_S - 0.1
        time.sleep(3 * WATCH_S)  # noqa: ASYNC251 - the loop hangs
        assert ended == []
        await asyncio.sleep(2 * WATCH_S)
        clock.now += LATE_S + 0.1
        time.sleep(3 * WATCH_S)  # noqa: ASYNC251
    assert ended == [STATUS]


async def test_a_process_without_a_worker_has_a_moment_to_leave_also_behind_its_call() -> None:
    clock, ended = Clock(), list[int]()
    with Fence(clock=clock, leave=ended.append).raised() as fence:
        fence.leave_soon()
        await asyncio.sleep(2 * WATCH_S)
        assert ended == []
    clock.now += LEAVE_S + 0.1
    async with asyncio.timeout(DEADLINE_S):
        while not ended:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert ended == [STATUS]


async def test_nothing_ends_a_process_whose_call_is_over() -> None:
    clock, ended = Clock(), list[int]()
    with Fence(clock=clock, leave=ended.append).raised():
        pass
    clock.now += 60
    await asyncio.sleep(2 * WATCH_S)
    assert ended == []
