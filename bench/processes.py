"""What the processes of a stack cost: CPU seconds between two moments, and memory that is theirs (PSS)."""

import contextlib
from collections.abc import Iterator, Mapping

import psutil

from local import state
from tests.e2e.stack import LocalStack

MIB = 1024 * 1024


def cpu(stack: LocalStack) -> dict[str, float]:
    """CPU seconds so far by part, the callers (this process) included; children that ended count as well."""
    return {part: sum(map(_cpu, found)) for part, found in parts(stack).items()}


def spent(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    return {part: round(seconds - before.get(part, 0.0), 2) for part, seconds in after.items()}


def memory(stack: LocalStack) -> dict[str, float]:
    """MiB of PSS by part, without the callers and scripted models, which belong to the bench."""
    return {
        part: round(sum(map(_pss, found)) / MIB, 1)
        for part, found in parts(stack).items()
        if part not in ("callers", "scripted models")
    }


def parts(stack: LocalStack) -> dict[str, list[psutil.Process]]:
    running = state.current(stack.home)
    parts: dict[str, list[psutil.Process]] = {}
    for part, found in running.status.parts.items() if running else ():
        if found.pid:
            parts[part] = list(_tree(found.pid))
    me = psutil.Process()
    parts["callers"] = [me]
    parts["scripted models"] = [one for one in me.children() if "local.models.scripted" in " ".join(_command(one))]
    if running is not None:
        with contextlib.suppress(psutil.Error):
            # Its children are the parts; what they cost must not count twice.
            parts["supervisor"] = [psutil.Process(running.supervisor)]
    return parts


def _tree(pid: int) -> Iterator[psutil.Process]:
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        yield process
        yield from process.children(recursive=True)


def _command(process: psutil.Process) -> list[str]:
    with contextlib.suppress(psutil.Error):
        return process.cmdline()
    return []


def _cpu(process: psutil.Process) -> float:
    with contextlib.suppress(psutil.Error):
        times = process.cpu_times()
        return float(times.user + times.system + times.children_user + times.children_system)
    return 0.0


def _pss(process: psutil.Process) -> float:
    with contextlib.suppress(psutil.Error):
        return float(process.memory_full_info().pss)
    return 0.0
