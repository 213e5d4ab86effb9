"""Stacks for all end-to-end tests: each is started once, when the first test asks for it."""

import os
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from tests.e2e.stack import LocalStack, scripted_models, started


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    """The stack that a stranger gets: local models, no key. `E2E_HOME` names one that already runs."""
    running = os.environ.get("E2E_HOME")
    if running:
        yield LocalStack(Path(running))
        return
    with started(tmp_path_factory.mktemp("stack") / "home") as found:
        yield found


@pytest.fixture(scope="session")
def scripted_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    """A stack whose models answer after known delays, for figures that compare across machines."""
    folder = tmp_path_factory.mktemp("scripted")
    with scripted_models(folder / "models.log") as settings, started(folder / "home", **settings) as found:
        yield found


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Adds the last lines of the stack's logs to the report of a test that failed."""
    report = yield
    if report.failed and isinstance(item, pytest.Function):
        for value in item.funcargs.values():
            if isinstance(value, LocalStack):
                report.sections.append((f"logs in {value.home}", value.logs()))
    return report
