"""One agent talks: agents of the same call in one room agree who stays, without asking anybody.

The highest attempt stays, ties go to the smaller job id. Each agent sees the others by the attributes they
joined with, so all of them come to the same answer.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from livekit import rtc

from switchboard.call import ATTEMPT, CALL_ID, JOB, WORKER


@dataclass(frozen=True, slots=True)
class Candidate:
    """An agent that joined for a call."""

    identity: str
    attempt: int
    job: str

    @property
    def rank(self) -> tuple[int, str]:
        """The smallest stays."""
        return -self.attempt, self.job


def attributes(call_id: UUID, attempt: int, job: str, worker: str = "") -> dict[str, str]:
    """What an agent joins with, so that the others can tell who it is, and the watcher whose it is."""
    given = {CALL_ID: str(call_id), ATTEMPT: str(attempt), JOB: job}
    return {**given, WORKER: worker} if worker else given


def candidates(participants: Iterable[rtc.Participant], call_id: UUID) -> list[Candidate]:
    """The agents of this call among the participants."""
    found = (_candidate(one, str(call_id)) for one in participants)
    return [one for one in found if one is not None]


def _candidate(participant: rtc.Participant, call_id: str) -> Candidate | None:
    given = participant.attributes
    if participant.kind != rtc.ParticipantKind.PARTICIPANT_KIND_AGENT or given.get(CALL_ID) != call_id:
        return None
    attempt = given.get(ATTEMPT, "")
    return Candidate(participant.identity, int(attempt) if attempt.isdecimal() else 0, given.get(JOB, ""))


def losers(me: Candidate, others: Iterable[Candidate]) -> list[Candidate] | None:
    """Those that have to leave because of me; None when it is me that has to."""
    rest = list(others)
    if any(one.rank < me.rank for one in rest):
        return None
    return rest
