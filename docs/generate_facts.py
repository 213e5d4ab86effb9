"""Writes docs/facts.md from the code: `python docs/generate_facts.py`, or with `--check` says whether it is current.

Kinds and fields come from the union in switchboard/fact.py; who reports a kind, from the places where its body
is made.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "facts.md"
PROGRAMS = ("webhook", "agent", "control")

HEAD = """\
# Facts

What happened, as Switchboard records it. This page is made by `python docs/generate_facts.py`: change
`switchboard/fact.py` instead, and run it again.

Every fact has an `id` (made by its source, so that a fact recorded twice is one fact), a `conversation_id`, the
`call_id` when it is about a call, `at` (UTC), a `source` ({sources}) and a `body`.
The body's `kind` is one of those below. A fact is at most {most} KiB as JSON; in the log it has a `seq` as well:
1, 2, 3 … in its conversation, without gaps.

"""


def bodies() -> list[type[Any]]:
    """The kinds of bodies, in the order of the union."""
    from switchboard import fact

    union = get_args(fact.AnyBody)[0]
    return list(get_args(union))


def reporters() -> dict[str, list[str]]:
    """The programs in which each body is made, by the name of its class."""
    names = {body.__name__ for body in bodies()}
    found: dict[str, list[str]] = {name: [] for name in names}
    for program in PROGRAMS:
        made = {name for path in (ROOT / program).rglob("*.py") for name in _made_in(path)}
        for name in names & made:
            found[name].append(program)
    return found


def _made_in(path: Path) -> Iterator[str]:
    """The classes of switchboard.fact that a file calls."""
    parsed = ast.parse(path.read_text(encoding="utf-8"))
    imported = {
        alias.asname or alias.name: alias.name
        for node in ast.walk(parsed)
        if isinstance(node, ast.ImportFrom) and node.module == "switchboard.fact"
        for alias in node.names
    }
    for node in ast.walk(parsed):
        if not isinstance(node, ast.Call):
            continue
        if isinstance(node.func, ast.Name) and node.func.id in imported:
            yield imported[node.func.id]
        elif isinstance(node.func, ast.Attribute) and ast.unparse(node.func.value) == "fact":
            yield node.func.attr


def page() -> str:
    """The whole of docs/facts.md."""
    from switchboard import fact

    sources = ", ".join(f"`{one.value}`" for one in fact.Source)
    made = reporters()
    parts = [_section(body, made[body.__name__]) for body in bodies()]
    return HEAD.format(sources=sources, most=fact.MAX_BYTES // 1024) + "\n".join(parts)


def _section(body: type[Any], programs: list[str]) -> str:
    fields = {name: field for name, field in body.model_fields.items() if name != "kind"}
    lines = [f"## {body.model_fields['kind'].default}", ""]
    if "__doc__" in vars(body) and body.__doc__:
        lines += [" ".join(body.__doc__.split()), ""]
    lines += [f"From {' and '.join(f'`{one}`' for one in programs) or 'nobody yet'}.", ""]
    lines += ["| field | type | default |", "|---|---|---|"]
    lines += [f"| `{name}` | {_shown(field.annotation)} | {_default(field)} |" for name, field in fields.items()]
    return "\n".join(lines) + "\n"


def _shown(annotation: Any) -> str:
    """A type as one reads it in JSON."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in inner)
    if origin in (Union, UnionType):
        return " or ".join(_shown(one) for one in inner)
    if origin is dict:
        return f"object of {_shown(inner[1])}"
    plain = {str: "text", int: "whole number", float: "number", bool: "true or false", NoneType: "null"}
    return plain.get(annotation, "JSON")


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int | float) else str(value or "empty")


def main() -> int:
    """0 when the page is written or current, 1 when `--check` finds it old."""
    sys.path.insert(0, str(ROOT))
    text = page()
    if "--check" not in sys.argv:
        PAGE.write_text(text, encoding="utf-8")
        return 0
    if PAGE.is_file() and PAGE.read_text(encoding="utf-8") == text:
        return 0
    sys.stderr.write("docs/facts.md is old: run `python docs/generate_facts.py`\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
