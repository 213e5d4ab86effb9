"""Which tests run side by side (`make test`): all but those that judge sound by the clock, as callers do."""

import pytest

ALONE = (
    "tests/contract/test_agent",
    "tests/contract/test_local_models",
    "tests/contract/test_phone",
    "tests/contract/test_worker",
    "tests/e2e/",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.nodeid.startswith(ALONE):
            item.add_marker("alone")
