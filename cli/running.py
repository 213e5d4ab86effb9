"""The settings as the parts of the running stack have them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from local import state
from switchboard.settings import Settings


def settings_here() -> Settings:
    """The settings of this process, completed by what the running stack made: addresses, ports and keys.

    What is set in the environment counts first, so that another server can be asked about.
    """
    settings = Settings.read()
    told = state.environment(settings.home.absolute())
    with _environment({name: value for name, value in told.items() if name not in os.environ}):
        return Settings.read()


@contextmanager
def _environment(more: dict[str, str]) -> Iterator[None]:
    os.environ.update(more)
    try:
        yield
    finally:
        for name in more:
            os.environ.pop(name, None)
