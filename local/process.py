"""One child process: a group of its own, a log file, an end that takes its own children along."""

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
from pathlib import Path
from typing import Self

from local.part import Command

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


class Process:
    """A running child. Its group is killed when it has ended, however it ended."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._swept = False

    @classmethod
    async def start(cls, command: Command, log: Path, death_signal: signal.Signals = signal.SIGKILL) -> Self:
        """Starts `command` with its output appended to `log`. Raises OSError when it cannot be run."""
        supervisor = os.getpid()

        def before_exec() -> None:
            # The kernel's signal comes when the thread that forked ends: asyncio forks in the main thread.
            if _libc is not None:
                _libc.prctl(_PR_SET_PDEATHSIG, death_signal)
                if os.getppid() != supervisor:
                    os._exit(1)

        with log.open("ab") as out:
            process = await asyncio.create_subprocess_exec(
                *command.argv,
                env=dict(command.env),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
                preexec_fn=before_exec,
            )
        return cls(process)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.returncode is None

    async def wait(self) -> int:
        """The exit status, negative for a signal; what it started and left behind is killed."""
        status = await self._process.wait()
        # Once only: later the group's number may be someone else's.
        if not self._swept:
            self._swept = True
            self._signal_group(signal.SIGKILL)
        return status

    async def stop(self, with_signal: signal.Signals, patience_s: float) -> int | None:
        """Asks the process to end, then ends its group. Its exit status; None when it had to be killed."""
        if self.running:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(with_signal)
        try:
            async with asyncio.timeout(patience_s):
                return await self.wait()
        except TimeoutError:
            self.kill()
            await self.wait()
            return None

    def kill(self) -> None:
        """Ends the process and all that it started, at once."""
        if not self._swept:
            self._signal_group(signal.SIGKILL)

    def _signal_group(self, with_signal: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, with_signal)
