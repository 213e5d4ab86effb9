"""Figures and how they are shown: spreads beside their targets, as a table and as JSON."""

import json
import math
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True)
class Spread:
    """Of `n` values the middle, the 95th of a hundred (the next higher one measured), and the worst."""

    n: int
    p50: float
    p95: float
    worst: float

    @classmethod
    def of(cls, values: Iterable[float | None]) -> "Spread | None":
        """None when there is no value."""
        found = sorted(value for value in values if value is not None)
        if not found:
            return None
        p95 = found[math.ceil(0.95 * len(found)) - 1]
        return cls(len(found), round(median(found), 3), round(p95, 3), round(found[-1], 3))


@dataclass(frozen=True, slots=True)
class Target:
    """A figure that shall hold: what it is, the value measured, its limit, and which side of it is good."""

    what: str
    value: float | None
    limit: float
    at_least: bool = False

    @property
    def met(self) -> bool:
        if self.value is None:
            return False
        return self.value >= self.limit if self.at_least else self.value <= self.limit


@dataclass(slots=True)
class Figures:
    """What one run found. `counts` are numbers of cases, `cases` what happened in each."""

    bench: str
    setup: Mapping[str, Any]
    spreads: dict[str, Spread | None] = field(default_factory=dict)
    counts: dict[str, Any] = field(default_factory=dict)
    targets: list[Target] = field(default_factory=list)
    cpu_s: dict[str, float] = field(default_factory=dict)
    memory_mib: dict[str, Any] = field(default_factory=dict)
    cases: list[Mapping[str, Any]] = field(default_factory=list)
    load: list[tuple[float, float, float]] = field(default_factory=lambda: [os.getloadavg()])

    def as_json(self) -> dict[str, Any]:
        found = {name: getattr(self, name) for name in self.__slots__}
        spreads = {name: asdict(one) if one else None for name, one in self.spreads.items()}
        targets = [{**asdict(one), "met": one.met} for one in self.targets]
        return {
            **found,
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "cores": os.cpu_count(),
            "spreads": spreads,
            "targets": targets,
        }


def show(figures: Figures, file: Path | None) -> None:
    """Prints the figures as tables, and writes them as JSON to `file` when one is named."""
    figures.load.append(os.getloadavg())
    console = Console(highlight=False, soft_wrap=True)
    setup = ", ".join(f"{name} {value}" for name, value in figures.setup.items() if value is not None)
    first, last = figures.load[0][0], figures.load[-1][0]
    console.print(f"\n[bold]{figures.bench}[/bold]: {setup}; {os.cpu_count()} cores, load {first:.1f} to {last:.1f}")
    if figures.spreads:
        console.print(_spreads(figures.spreads))
    for name, count in figures.counts.items():
        console.print(f"{name}: {count}")
    if figures.cpu_s:
        console.print("CPU seconds: " + _listed(figures.cpu_s))
    for name, value in figures.memory_mib.items():
        console.print(f"{name}: {_listed(value) if isinstance(value, dict) else value}")
    if figures.targets:
        console.print(_targets(figures.targets))
    if file is not None:
        file.write_text(json.dumps(figures.as_json(), indent=2, default=str) + "\n")
        console.print(f"written to {file}")
    sys.stdout.flush()


def _listed(values: Mapping[str, float]) -> str:
    ordered = sorted(values.items(), key=lambda one: -one[1])
    return ", ".join(f"{name} {value:g}" for name, value in ordered if value >= 0.05)


def _spreads(spreads: Mapping[str, Spread | None]) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in ("seconds", "n", "p50", "p95", "worst"):
        table.add_column(column, justify="left" if column == "seconds" else "right")
    for name, one in spreads.items():
        cells = [str(one.n), f"{one.p50:.3f}", f"{one.p95:.3f}", f"{one.worst:.3f}"] if one else ["0", "", "", ""]
        table.add_row(name, *cells)
    return table


def _targets(targets: Sequence[Target]) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in ("target", "", "measured", ""):
        table.add_column(column)
    for one in targets:
        value = "none" if one.value is None else f"{one.value:g}"
        sign = "≥" if one.at_least else "≤"
        table.add_row(one.what, f"{sign} {one.limit:g}", value, "met" if one.met else "[bold]missed[/bold]")
    return table
