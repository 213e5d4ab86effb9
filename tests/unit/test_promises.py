"""The ledger holds both ways: no promise without a test, no contract or e2e test without a promise."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.promises import PROMISES, promise

TESTS = Path(__file__).parent.parent
FOLDERS = ("contract", "e2e")


def marked() -> Iterator[tuple[str, list[str]]]:
    """Each test of the folders, and the promises it holds."""
    for folder in FOLDERS:
        for path in sorted((TESTS / folder).rglob("test_*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                    yield f"{folder}/{path.name}::{node.name}", list(_promises(node))


def _promises(node: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[str]:
    for mark in node.decorator_list:
        if isinstance(mark, ast.Call) and isinstance(mark.func, ast.Name) and mark.func.id == "promise":
            yield from (str(argument.value) for argument in mark.args if isinstance(argument, ast.Constant))


def test_every_contract_and_e2e_test_holds_a_promise() -> None:
    assert [name for name, held in marked() if not held] == []


def test_every_promise_has_a_test() -> None:
    held = {name for _, names in marked() for name in names}
    assert sorted(set(PROMISES) - held) == []
    assert sorted(held - set(PROMISES)) == []


def test_promises_are_sentences_under_dotted_names() -> None:
    assert [name for name, text in PROMISES.items() if "." not in name or len(text.split()) < 3] == []


def test_a_test_cannot_hold_a_promise_that_nobody_made() -> None:
    with pytest.raises(KeyError, match="not in tests"):
        promise("no.such.promise")
