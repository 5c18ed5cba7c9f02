"""Which versions of Ray a cluster may run. Pure."""

from __future__ import annotations

from packaging.version import InvalidVersion, Version

OLDEST_RAY = "2.45.0"
"""The oldest version of Ray on which our contract tests pass.

Up to 2.44, the dashboard puts a ``1`` in front of each chunk of a file, and answers 200 if there is no file
(``StateHead.get_logs``). So results can't be read there. Neither can logs, if the agents on the nodes can't
be reached. The rest works at least down to 2.31.
"""


def is_too_old(version: str) -> bool:
    """Whether a cluster's version is older than the oldest one that is known to work.

    A version that can't be parsed, such as that of a custom build, is not.
    """
    try:
        return Version(version) < Version(OLDEST_RAY)
    except InvalidVersion:
        return False
