"""Which tests run behind the others, and fewer at a time: those that judge sound by the clock, as callers do."""

import pytest

TIMED = (
    "tests/contract/test_agent.py",
    "tests/contract/test_agent_history",
    "tests/contract/test_agent_models",
    "tests/contract/test_agent_resume",
    "tests/contract/test_local_models",
    "tests/contract/test_phone",
    "tests/contract/test_worker",
    "tests/e2e/",
)
NOT_TIMED = ("tests/e2e/test_backup", "tests/e2e/test_stack")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        judges = item.nodeid.startswith(TIMED) and not item.nodeid.startswith(NOT_TIMED)
        if judges and item.get_closest_marker("alone") is None:
            item.add_marker("timed")
