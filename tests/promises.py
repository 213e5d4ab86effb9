"""The ledger: each promise of the specs, and the mark that says which test holds it.

A promise without a test, or a contract or e2e test without a promise, fails (tests/unit/test_promises.py).
"""

from collections.abc import Callable
from typing import TypeVar

import pytest

Test = TypeVar("Test", bound=Callable[..., object])

PROMISES: dict[str, str] = {}


def promise(name: str) -> Callable[[Test], Test]:
    """Marks the test that holds the promise `name`."""
    if name not in PROMISES:
        raise KeyError(f"{name} is not in tests/promises.py")
    return pytest.mark.promise(name)
