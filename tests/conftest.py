"""Which tests run behind the others, and fewer at a time: those that judge sound by the clock, as callers do."""

import pytest

TIMED = (
    "tests/contract/test_agent",
    "tests/contract/test_local_models",
    "tests/contract/test_phone",
    "tests/contract/test_worker",
    "tests/e2e/",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.nodeid.startswith(TIMED):
            item.add_marker("timed")
