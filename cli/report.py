"""What `up` prints while the stack comes up and runs."""

import json
import os
import sys
import urllib.request
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from cli import first_link
from local.part import Part
from local.stack import Stack

_SHOWN = 5
_ASK_S = 2.0


class StackPrinter:
    """A line per part as it gets ready, then what to dial.

    With `then_log` standard output and error go to that file once all is ready: whoever read them leaves.
    """

    def __init__(self, console: Console, *, then_log: Path | None = None) -> None:
        self._console = console
        self._then_log = then_log

    def note(self, part: str, text: str) -> None:
        self._line(f"[dim]…[/dim] {part:<9} {escape(text)}")

    def ready(self, part: Part, after_s: float) -> None:
        where = f":{part.port}" if part.port else "socket"
        self._line(f"[green]✓[/green] {part.name:<9} {where:<7} {after_s:.1f} s")

    def restarting(self, part: Part, why: str, pause_s: float) -> None:
        self._line(f"[yellow]![/yellow] {part.name:<9} {escape(why)}; starts again in {pause_s:g} s")

    def moved(self, name: str, wanted: int, chosen: int) -> None:
        self._line(f"[yellow]![/yellow] port {wanted} ({name}) is taken: using {chosen}")

    def swept(self, processes: int) -> None:
        self._line(f"[yellow]![/yellow] ended {processes} processes that an earlier start left behind")

    def up(self, stack: Stack, after_s: float) -> None:
        self._line(f"Ready in {after_s:.1f} s.")
        for line in _invitation(stack):
            self._line(line)
        if stack.urls.control:
            self._first_link(stack.home, stack.urls.control)
        if self._then_log is not None:
            _go_on_in(self._then_log)

    def _first_link(self, home: Path, control: str) -> None:
        file = first_link.renew(home, control)
        if file is None:
            return
        self._line(f"Sign in with the link in {file}, once, within ten minutes")
        # Rich takes some files for terminals that are none; what goes into a log must not open a door.
        if self._console.file.isatty():
            self._line(escape(first_link.read(home)))

    def stopping(self) -> None:
        self._line("Stopping …")

    def _line(self, text: str) -> None:
        self._console.print(text, soft_wrap=True)


def _go_on_in(log: Path) -> None:
    with log.open("a") as file:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
            os.dup2(file.fileno(), stream.fileno())


def _invitation(stack: Stack) -> list[str]:
    urls = stack.urls
    lines = []
    if urls.sip:
        host = urls.sip.removeprefix("sip:")
        numbers = _numbers(stack) or [("+15550100001", "default")]
        lines.append("")
        lines += [f"Dial    sip:{number}@{host}  ({escape(persona)})" for number, persona in numbers]
        lines.append(f'or      switchboard call {numbers[0][0]} --say "What time is breakfast served?"')
    if urls.control:
        lines.append(f"Control {urls.control}  (key in {stack.home / 'admin.key'})")
    return lines


def _numbers(stack: Stack) -> list[tuple[str, str]]:
    """The first numbers and who answers them; none when control does not say."""
    try:
        request = urllib.request.Request(  # noqa: S310 (the address is our own)
            f"{stack.urls.control}/numbers?limit={_SHOWN}",
            headers={"Authorization": f"Bearer {(stack.home / 'admin.key').read_text().strip()}"},
        )
        with urllib.request.urlopen(request, timeout=_ASK_S) as answer:  # noqa: S310
            found = json.load(answer)["numbers"]
        return [(one["number"], one["persona"] or f"campaign {one['campaign']}") for one in found]
    except (OSError, ValueError, KeyError, TypeError):
        return []
