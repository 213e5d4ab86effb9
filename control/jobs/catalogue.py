"""The jobs there are, by kind."""

from collections.abc import Iterable, Mapping

from control.forgetting import job as forgetting
from control.jobs import housekeeping
from control.jobs.job import Job, Queue
from control.recordings import deletion

Catalogue = Mapping[str, Job]


def catalogue(jobs: Iterable[Job]) -> Catalogue:
    """These jobs by kind. Raises `ValueError` for a kind that is there twice."""
    found: dict[str, Job] = {}
    for job in jobs:
        if job.kind in found:
            raise ValueError(f"there are two jobs of the kind {job.kind}")
        found[job.kind] = job
    return found


CATALOGUE = catalogue(
    (
        Job("clean_up", housekeeping.clean_up, Queue.HOUSEKEEPING),
        Job("expire", housekeeping.expire, Queue.HOUSEKEEPING),
        Job("expire_recordings", deletion.expire, Queue.HOUSEKEEPING),
        Job(deletion.ERASE, deletion.erase_one),
        Job(forgetting.KIND, forgetting.forget, limit_s=500.0),
    )
)
