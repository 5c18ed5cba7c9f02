"""Remembers which operator of this process follows a job, for who runs several tries in one process.

Airflow gives each try a process of its own, and says itself which one is the current one.
"""

from __future__ import annotations

from typing import Any
from weakref import WeakValueDictionary

_latest: WeakValueDictionary[tuple[str, str], Any] = WeakValueDictionary()


def follow(job_id: str, *, cluster: str, follower: Any) -> None:
    """Note that this operator follows the job from now on."""
    _latest[cluster, job_id] = follower


def is_followed_by_another(job_id: str, *, cluster: str, follower: Any) -> bool:
    """Return whether another operator began to follow the job later."""
    return _latest.get((cluster, job_id), follower) is not follower
