"""Which versions of Ray a cluster may run. Pure."""

from __future__ import annotations

from packaging.version import InvalidVersion, Version

OLDEST_RAY = "2.31.0"
"""The oldest version of Ray on whose clusters our contract was seen to hold."""


def is_too_old(version: str) -> bool:
    """Whether a cluster's version is older than the oldest one that is known to work.

    A version that can't be read, as of a build of somebody's own, is none.
    """
    try:
        return Version(version) < Version(OLDEST_RAY)
    except InvalidVersion:
        return False
