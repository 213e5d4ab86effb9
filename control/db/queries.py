"""Queries live in `queries.sql` beside the code that asks them, each named by a comment line."""

import re
from collections.abc import Mapping
from pathlib import Path

_HEAD = re.compile(r"^-- (?P<name>[a-z_]+): (?P<about>.+)$", re.MULTILINE)


def load(folder: Path) -> Mapping[str, str]:
    """The queries of `folder`'s `queries.sql` by name. A block begins with `-- name: what it does`.

    Raises `ValueError` for a name that stands there twice or a block without a statement.
    """
    text = (folder / "queries.sql").read_text(encoding="utf-8")
    heads = list(_HEAD.finditer(text))
    found: dict[str, str] = {}
    for head, after in zip(heads, [*heads[1:], None], strict=True):
        statement = text[head.end() : after.start() if after else None].strip().removesuffix(";")
        if not statement or head["name"] in found:
            raise ValueError(f"{folder.name}/queries.sql: {head['name']} is empty or stands there twice")
        found[head["name"]] = statement
    return found
