"""`switchboard doctor`: what is wrong, and what to do about it."""

import asyncio
from dataclasses import asdict
from typing import TYPE_CHECKING

from rich.console import Console

from cli.fault import Unsuccessful
from cli.output import Json, plain, print_json
from cli.running import settings_here
from local import state

if TYPE_CHECKING:
    from cli import checks


def doctor(as_json: Json = False) -> None:
    """Check versions, ports, keys, models, servers, webhook, personas and trunks; status 0 when all is well."""
    settings = settings_here()
    home = settings.home.absolute()
    # The checks bring the libraries of all parts along.
    from cli import checks

    findings = asyncio.run(checks.look(checks.Place(home, state.current(home), settings)))
    if as_json:
        print_json([{**asdict(one), "ok": one.ok} for one in findings])
    else:
        _show(findings)
    wrong = [one for one in findings if not one.ok]
    if wrong:
        raise Unsuccessful(f"{len(wrong)} of {len(findings)} checks found something to mend.")


def _show(findings: "list[checks.Finding]") -> None:
    console = Console(highlight=False)
    width = max(len(one.name) for one in findings)
    for one in findings:
        mark = "[green]✓[/green]" if one.ok else "[red]✗[/red]"
        console.print(mark, plain(f"{one.name:<{width}}  {one.found}"), soft_wrap=True)
        if not one.ok:
            console.print(plain(f"  {'':<{width}}  → {one.mend}"), soft_wrap=True)
