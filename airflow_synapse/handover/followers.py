"""Remembers who in this process follows a job, for those who run tries or triggers without Airflow.

Airflow itself says which try is the current one, and gives each a process of its own.
"""

from __future__ import annotations

from weakref import WeakValueDictionary


class Following:
    """That somebody follows a job. It lasts as long as this object.

    :param rank: A higher one came later.
    """

    def __init__(self, rank: int) -> None:
        self.rank = rank


class Followers:
    """Who follows which job."""

    def __init__(self) -> None:
        self._latest: WeakValueDictionary[tuple[str, str], Following] = WeakValueDictionary()

    def follow(self, job_id: str, *, cluster: str, rank: int) -> Following:
        """Note that somebody follows the job from now on, and return what must be kept meanwhile."""
        following = Following(rank)
        self._latest[cluster, job_id] = following
        return following

    def has_later(self, job_id: str, *, cluster: str, rank: int) -> bool:
        """Return whether somebody follows the job who came later."""
        latest = self._latest.get((cluster, job_id))
        return latest is not None and latest.rank > rank


TRIES = Followers()
"""The tries that follow a job, by their numbers."""

TRIGGERS = Followers()
"""The triggers that watch a job, in the order in which they began."""
