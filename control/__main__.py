"""`python -m control`: serves the API and records facts until it is told to stop."""

import asyncio
import gc
import sys

from switchboard import logs
from switchboard.settings import Settings, SettingsError


def main() -> int:
    """0 after a stop that was asked for, 2 when a setting keeps control from starting."""
    try:
        settings = Settings.read()
        logs.configure("control", level=settings.log_level, json=settings.log_json)
        # It takes seconds, a fifth of them for looking for garbage, of which modules make none.
        gc.disable()
        from control import service

        gc.enable()
        asyncio.run(service.serve(settings))
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    except asyncio.CancelledError:
        return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
