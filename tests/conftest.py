"""In which order tests run, and which behind the others, fewer at a time: those that judge sound, as callers do."""

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
# Files that take minutes begin first, so that none of them is left to the end.
LONGEST = (
    "tests/contract/test_agent.py",
    "tests/contract/test_agent_models",
    "tests/e2e/test_calls",
    "tests/e2e/test_chaos",
    "tests/e2e/test_outages",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: not item.nodeid.startswith(LONGEST))
    for item in items:
        judges = item.nodeid.startswith(TIMED) and not item.nodeid.startswith(NOT_TIMED)
        if judges and item.get_closest_marker("alone") is None:
            item.add_marker("timed")
