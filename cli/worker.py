"""`switchboard worker`: one more worker, so that another can be drained or its machine's calls be shared."""

import os
import sys

from cli.fault import CommandFailed
from local import state
from local.ports import free_port
from local.stack import for_programs
from switchboard.settings import Settings


def worker() -> None:
    """Run one more agent worker for the stack that runs here. Ctrl-C or SIGTERM: its calls finish, then it ends."""
    home = Settings.read().home.absolute()
    told = state.environment(home)
    if not told:
        raise CommandFailed(f"Nothing runs in {home}: start it with `switchboard up`.")
    port = free_port()
    environment = for_programs(home, {**told, "AGENT_PORT": str(port)})
    sys.stdout.write(f"It takes calls once http://127.0.0.1:{port}/ready answers 200.\n")
    sys.stdout.flush()
    # In our place: signals, output and exit status are the worker's own.
    os.execve(sys.executable, (sys.executable, "-P", "-m", "agent"), environment)  # noqa: S606
