"""What the documentation says is there, is there."""

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from uuid import UUID

import pytest
import typer
import yaml

from cli.main import app
from switchboard import stream
from switchboard.persona import Persona
from switchboard.settings import OTHERS, OUR_PREFIXES, known_names
from tests.deployment import ROOT, entries
from webhook import store

PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
LINK = re.compile(r"\]\((?!https?://)([^)#\s]*)(?:#([\w-]+))?\)")
SAID = re.compile(r"(?:bin/|`|control |run )switchboard ((?:[a-z]+ ?)+)")
MADE = re.compile(r"\bmake ([a-z]+)\b(?=[`\s]*(?:$|#|BENCH|`))", re.MULTILINE)
RUN = re.compile(r"python -m ([\w.]+)")
SPELLINGS = re.compile(r"^\| (`\w+`(?:, `\w+`)*) \| `(\w+)`", re.MULTILINE)
PATH = re.compile(r"`((?:agent|bench|cli|control|docs|local|prompts|switchboard|tests|webhook)/[\w./-]*)`")
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate_facts", ROOT / "docs" / "generate_facts.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def shell_lines(page: Path) -> Iterator[str]:
    """The commands in a page's shell blocks, without comments."""
    for language, block in BLOCK.findall(page.read_text(encoding="utf-8")):
        if language == "sh":
            yield from (line.split("  #")[0].strip() for line in block.splitlines() if line.strip())


def test_the_list_of_facts_is_current() -> None:
    assert text("docs/facts.md") == generator().page(), "run `python docs/generate_facts.py`"


def test_every_kind_of_fact_has_somebody_who_reports_it() -> None:
    assert [name for name, programs in generator().reporters().items() if not programs] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target, anchor in LINK.findall(page.read_text(encoding="utf-8")):
        path = (page.parent / target).resolve() if target else page
        assert path.exists(), f"{page.name} links to {target}"
        if anchor:
            assert anchor in _anchors(path), f"{page.name} links to #{anchor}"


def _anchors(path: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


def commands() -> dict[str, set[str]]:
    """The subcommands of `switchboard`, each with its own subcommands."""
    root = typer.main.get_command(app)
    return {name: set(getattr(one, "commands", ())) for name, one in getattr(root, "commands", {}).items()}


def test_commands_in_the_pages_exist() -> None:
    known, seen = commands(), 0
    for page in PAGES:
        for said in SAID.findall(page.read_text(encoding="utf-8")):
            words = said.split()
            assert words[0] in known, f"{page.name}: switchboard {said}"
            assert not known[words[0]] or len(words) == 1 or words[1] in known[words[0]], f"{page.name}: {said}"
            seen += 1
    assert seen > 5


def test_make_targets_in_the_pages_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", text("Makefile"), re.MULTILINE))
    said = {found for page in PAGES for found in MADE.findall(_code(page))}
    assert {"up", "test", "bench", "check"} <= said
    assert said <= targets


def _code(page: Path) -> str:
    whole = page.read_text(encoding="utf-8")
    return "\n".join([*(block for _, block in BLOCK.findall(whole)), *re.findall(r"`[^`\n]+`", BLOCK.sub("", whole))])


def test_modules_that_the_pages_run_exist() -> None:
    said = {module for page in PAGES for module in RUN.findall(page.read_text(encoding="utf-8"))}
    assert {module for module in said if importlib.util.find_spec(module) is None} == set()
    assert {"bench.pauses", "bench.barge_in"} <= said


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_settings_in_the_pages_are_settings(page: Path) -> None:
    known = known_names() | {one.name for one in entries()}
    said = re.findall(r"\b[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+\b", page.read_text(encoding="utf-8"))
    wrong = {name for name in said if name.startswith(OUR_PREFIXES) and not name.startswith(OTHERS)} - known
    assert wrong == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_the_pages_name_exist(page: Path) -> None:
    said = PATH.findall(page.read_text(encoding="utf-8"))
    assert [name for name in said if not (ROOT / name).exists()] == []


def test_the_design_names_modules_of_the_agent_that_exist() -> None:
    agent = text("docs/design.md").split("## The agent")[1].split("\n## ")[0]
    named = re.findall(r"\*\*`(\w+)`\*\*|\(`(\w+)`\)", agent)
    assert len(named) > 4
    assert [name for pair in named for name in pair if name and not (ROOT / "agent" / f"{name}.py").is_file()] == []


def test_the_design_names_every_key_in_redis() -> None:
    design, call = text("docs/design.md"), UUID(int=0)
    keys = {
        stream.persona_key("{number}"),
        stream.seen_key("{event id}"),
        stream.dispatch_key(call, 1).replace(str(call), "{call_id}").replace(":1", ":{attempt}"),
        stream.beat_key(call).replace(str(call), "{call_id}"),
        stream.items_key(call).replace(str(call), "{call_id}"),
        stream.worker_key("{worker_id}"),
        stream.WORKERS,
        stream.STREAM,
        stream.LIVE_CALLS,
        store.WATCHER,
        store.BLOCKLIST,
    }
    assert {key for key in keys if f"| `{key}` |" not in design} == set()


def test_the_design_names_every_table() -> None:
    design = text("docs/design.md")
    sql = "\n".join(path.read_text() for path in (ROOT / "control" / "db" / "migrations").glob("*.sql"))
    tables = set(re.findall(r"CREATE TABLE (\w+)", sql))
    assert tables
    assert {table for table in tables if f"`{table}`" not in design} == set()


def test_every_field_of_a_persona_is_explained() -> None:
    page = text("docs/personas.md")
    assert {name for name in Persona.model_fields if f"| `{name}` |" not in page} == set()


def test_other_spellings_are_read_as_the_page_says() -> None:
    rows = SPELLINGS.findall(text("docs/personas.md").split("## Other spellings")[1])
    assert len(rows) == 5
    for theirs, ours in rows:
        for spelling in re.findall(r"\w+", theirs):
            persona, rejected = Persona.read({spelling: "as given"})
            assert (getattr(persona, ours), rejected) == ("as given", {}), spelling


@pytest.mark.parametrize("page", ["README.md", "docs/personas.md"])
def test_personas_in_the_pages_are_read_without_a_fault(page: str) -> None:
    blocks = [block for language, block in BLOCK.findall(text(page)) if language == "yaml"]
    assert blocks
    for block in blocks:
        assert Persona.read(yaml.safe_load(block))[1] == {}


def test_the_readme_gives_the_two_commands_first() -> None:
    lines = list(shell_lines(ROOT / "README.md"))
    assert lines[:2] == ["make up", "make test"]


def test_the_readme_says_what_was_not_run() -> None:
    assert "Not run yet" in text("README.md")


def test_what_the_operations_page_tells_to_look_for_is_there() -> None:
    """Log events, facts, metrics and fields: each stands as a word of its own in the code."""
    said = set(re.findall(r"`([a-z]+(?:_[a-z]+)+)`", text("docs/operations.md")))
    code = "\n".join(
        path.read_text(encoding="utf-8")
        for folder in ("agent", "cli", "control", "local", "switchboard", "webhook")
        for path in (ROOT / folder).rglob("*")
        if path.suffix in (".py", ".sql")
    )
    assert len(said) > 20
    assert {one for one in said if not re.search(rf"\b{one.removesuffix('_total')}\b", code)} == set()
