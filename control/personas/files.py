"""The personas that an installation comes with: YAML files, loaded once at its first start."""

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import structlog
import yaml
from pydantic import TypeAdapter, ValidationError

from control.access import Actor
from control.db.pool import Database
from control.fields import Slug
from control.personas import numbers, store
from control.personas.document import DocumentError, checked
from control.personas.numbers import Share
from switchboard.number import normalise
from switchboard.settings import SettingsError

log = structlog.get_logger(__name__)

MILESTONE = "personas_loaded"
_SLUG = TypeAdapter(Slug)


def bundled() -> Path:
    return Path(str(files("prompts"))) / "personas"


async def load_once(database: Database, folder: Path) -> None:
    """Loads the personas in `folder`, if this installation never did. All or none.

    Raises `SettingsError` naming file and field when one of them is wrong.
    """
    documents = _read_all(folder)
    actor = Actor("first start", None)
    async with database.transaction() as connection:
        if not await connection.fetchval(store.QUERIES["reach_milestone"], MILESTONE):
            return
        taken: dict[str, str] = {}
        for path, (slug, dialed, body) in documents:
            _refuse_twice(taken, path, [f"slug {slug}", *(f"number {normalise(one)}" for one in dialed)])
            await store.make(connection, actor, slug, body)
            for one in dialed:
                await numbers.put(connection, actor, one, [Share(slug)])
    log.info("personas_loaded", count=len(documents))


def _read_all(folder: Path) -> list[tuple[Path, tuple[str, list[str], dict[str, Any]]]]:
    return [(path, read(path)) for path in sorted(folder.glob("*.yaml"))]


def read(path: Path) -> tuple[str, list[str], dict[str, Any]]:
    """Slug, numbers and persona in a file. Raises `SettingsError` naming file and field."""
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        line = getattr(getattr(error, "problem_mark", None), "line", None)
        where = "" if line is None else f", line {line + 1}"
        raise SettingsError(f"{path}{where}: cannot be read as YAML; mend it or move it away.") from None
    if not isinstance(data, Mapping):
        raise SettingsError(f"{path}: must hold the fields of a persona.")
    fields = {str(key): value for key, value in data.items()}
    slug, dialed = fields.pop("slug", path.stem), fields.pop("numbers", None) or []
    try:
        _SLUG.validate_python(slug, strict=True)
        return slug, _dialed(dialed), checked(fields)
    except ValidationError:
        raise SettingsError(f"{path}: slug: must be small letters, digits and dashes.") from None
    except DocumentError as error:
        raise SettingsError(f"{path}: {error}") from None


def _dialed(value: object) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(one, str) and normalise(one) for one in value):
        raise DocumentError('numbers: must be a list of phone numbers in quotes, such as "+15550100001".')
    return value


def _refuse_twice(taken: dict[str, str], path: Path, names: list[str]) -> None:
    for name in names:
        if name in taken:
            raise SettingsError(f"{path}: {name} is in {taken[name]} already.")
        taken[name] = path.name
