"""`python -m agent`: the worker, until SIGTERM drains it; a second one ends it at once."""

import sys

from agent import nursery
from switchboard import logs
from switchboard.settings import Settings, SettingsError


def main() -> int:
    try:
        settings = Settings.read()
        settings.need("LIVEKIT_URL", "LIVEKIT_API_KEY", "LIVEKIT_API_SECRET")
        logs.configure("agent", level=settings.log_level, json=settings.log_json)
        nursery.begin(settings)
        # Only now: it takes seconds, in which the nursery loads as well, and callers may wait for this worker.
        from agent import service

        service.serve(settings)
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
