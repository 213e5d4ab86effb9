"""What runs again and again, and when, in UTC."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid5

_NAMESPACE = UUID("5b1d7a52-0c4e-5f7b-9a41-6d3c1f0e8b27")
# Weeks begin on it, and so do days and hours.
_MONDAY = datetime(1970, 1, 5, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Every:
    """A job of `kind` in each period, `after` its beginning. Periods count from a Monday at 00:00."""

    kind: str
    period: timedelta
    after: timedelta = timedelta()

    def due(self, now: datetime) -> datetime:
        """The latest tick that is not in the future. One that was missed is made up for; the ones before are not."""
        return now - (now - _MONDAY - self.after) % self.period

    def task(self, tick: datetime) -> UUID:
        """The id of this tick's task, the same wherever it is made: a tick is enqueued once."""
        return uuid5(_NAMESPACE, f"{self.kind} {tick.isoformat()}")


SCHEDULE = (
    Every("clean_up", timedelta(hours=1)),
    Every("expire", timedelta(days=1), after=timedelta(hours=1)),
    Every("expire_recordings", timedelta(days=1), after=timedelta(hours=2)),
    # Makes up for requests whose own tasks were cancelled or failed.
    Every("forget", timedelta(hours=1), after=timedelta(minutes=30)),
)
