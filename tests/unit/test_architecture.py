"""The shape of the code: who imports whom, what crosses borders, the one way out, and how long things may be."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deployment import ROOT

PROGRAMS = ("agent", "webhook", "control")
PACKAGES = (*PROGRAMS, "switchboard", "cli", "local", "bench", "prompts")
# What crosses a border between processes, and nothing else.
SHARED = {
    "blocklist",
    "call",
    "cancellation",
    "dispatch",
    "endpoints",
    "fact",
    "hours",
    "history",
    "logs",
    "media_stack",
    "model_client",
    "notice",
    "number",
    "outbound",
    "outbox",
    "passages",
    "persona",
    "recording_store",
    "recordings",
    "prompt",
    "ranking",
    "relay",
    "settings",
    "shipper",
    "stream",
}
# These talk to servers that the settings name: the models, and LiveKit.
SERVERS_OF_SETTINGS = {"switchboard/model_client.py", "webhook/rooms.py"}
WAY_OUT = "switchboard/outbound.py"
CLIENT_MODULES = {
    "ftplib",
    "http.client",
    "httpx",
    "httpx2",
    "openai",
    "requests",
    "smtplib",
    "urllib.request",
    "urllib3",
    "websockets",
}
CLIENT_NAMES = {
    "AsyncClient",
    "ClientSession",
    "LiveKitAPI",
    "TCPConnector",
    "create_connection",
    "open_connection",
    "urlopen",
}
VAGUE = {"utils", "util", "helpers", "helper", "manager", "common", "misc"}
LONGEST_FILE, LONGEST_FUNCTION = 400, 60


def sources(*packages: str) -> Iterator[Path]:
    for package in packages:
        yield from sorted((ROOT / package).rglob("*.py"))


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imports(path: Path) -> set[str]:
    """The modules that a file imports, anywhere in it; `from a import b` counts as `a` and as `a.b`."""
    found = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level:
            found.add(named(path).split("/")[0])
    return found


def packages_imported(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imports(path)} & {*PACKAGES, "tests"}


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_imports_itself_and_what_is_shared(program: str) -> None:
    wrong = {named(path): packages_imported(path) - {program, "switchboard"} for path in sources(program)}
    assert {path: names for path, names in wrong.items() if names} == {}


def test_what_is_shared_imports_nothing_of_ours() -> None:
    wrong = {named(path): packages_imported(path) - {"switchboard"} for path in sources("switchboard")}
    assert {path: names for path, names in wrong.items() if names} == {}


def test_only_what_crosses_a_border_is_shared() -> None:
    modules = {path.relative_to(ROOT / "switchboard").parts[0].removesuffix(".py") for path in sources("switchboard")}
    assert modules - {"__init__"} == SHARED
    users: dict[str, set[str]] = {module: set() for module in SHARED}
    for path in sources(*PROGRAMS, "cli", "local"):
        for module in SHARED & {name.split(".")[1] for name in imports(path) if name.startswith("switchboard.")}:
            users[module].add(named(path).split("/")[0])
    assert {module for module, by in users.items() if not by} == set()


def test_nothing_imports_what_starts_everything() -> None:
    wrong = {named(path): packages_imported(path) & {"cli", "bench", "tests"} for path in sources("local")}
    assert {path: names for path, names in wrong.items() if names} == {}


def test_there_is_one_way_out_to_addresses_that_users_supply() -> None:
    found = {named(path) for path in sources(*PROGRAMS, "switchboard") if _opens_connections(path)}
    assert found == {WAY_OUT, *SERVERS_OF_SETTINGS}
    assert "switchboard.outbound" in imports(ROOT / "webhook" / "personas.py")


def _opens_connections(path: Path) -> bool:
    names = {node.attr for node in ast.walk(tree(path)) if isinstance(node, ast.Attribute)}
    names |= {node.id for node in ast.walk(tree(path)) if isinstance(node, ast.Name)}
    modules = {name for name in imports(path) if name in CLIENT_MODULES}
    return bool(modules or names & CLIENT_NAMES)


def test_only_control_opens_postgres() -> None:
    users = {named(path).split("/")[0] for path in sources(*PROGRAMS, "switchboard") if "asyncpg" in imports(path)}
    assert users == {"control"}


def test_modules_have_names_that_say_something() -> None:
    assert [named(path) for path in sources(*PACKAGES) if path.stem in VAGUE or path.parent.name in VAGUE] == []


def test_files_are_short_enough_to_read() -> None:
    long = {named(path): len(path.read_text(encoding="utf-8").splitlines()) for path in sources(*PACKAGES, "docs")}
    assert {path: lines for path, lines in long.items() if lines > LONGEST_FILE} == {}


def test_functions_are_short_enough_to_see() -> None:
    long = {
        f"{named(path)}:{name}": lines
        for path in sources(*PACKAGES, "docs", "tests")
        for name, lines in _functions(path)
        if lines > LONGEST_FUNCTION
    }
    assert long == {}


def _functions(path: Path) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name, (node.end_lineno or node.lineno) - node.lineno + 1
