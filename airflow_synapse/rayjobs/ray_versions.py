"""Which versions of Ray a cluster may run. Pure."""

from __future__ import annotations

from packaging.version import InvalidVersion, Version

OLDEST_RAY = "2.45.0"
"""The oldest version of Ray on whose clusters our contract was seen to hold.

Up to 2.44 the dashboard puts a ``1`` before each chunk of a file that it serves, and answers 200 where
there is none (``StateHead.get_logs``). So results can't be read there, nor logs where the agents on the
nodes are out of reach; the rest works down to 2.31 at least.
"""


def is_too_old(version: str) -> bool:
    """Whether a cluster's version is older than the oldest one that is known to work.

    A version that can't be read, as of a build of somebody's own, is none.
    """
    try:
        return Version(version) < Version(OLDEST_RAY)
    except InvalidVersion:
        return False
