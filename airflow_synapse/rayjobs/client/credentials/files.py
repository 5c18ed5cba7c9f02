"""Notices that files have changed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from pathlib import Path

Stamp = tuple[str, int, int, int]


def stamps_of(paths: Iterable[str]) -> tuple[Stamp, ...]:
    """Return what tells one version of each file from another. A file that is not there has zeros. Blocks."""
    return tuple(_stamp_of(path) for path in paths)


def _stamp_of(path: str) -> Stamp:
    try:
        # Kubernetes renews a projected file by turning a link to another file.
        found = Path(path).stat()
    except OSError:
        return (path, 0, 0, 0)
    return (path, found.st_ino, found.st_mtime_ns, found.st_size)


class WatchedFiles:
    """Some files, and whether they have changed since they were read.

    :param paths: The files.
    :param interval: Seconds between two checks.
    """

    def __init__(self, paths: Iterable[str], interval: float) -> None:
        self._paths = tuple(paths)
        self._interval = interval
        self._seen: tuple[Stamp, ...] | None = None
        self._next_check = 0.0

    @property
    def are_due(self) -> bool:
        """Whether it is time for another check."""
        return bool(self._paths) and asyncio.get_running_loop().time() >= self._next_check

    async def have_changed(self) -> bool:
        """Check whether they have changed since the check before."""
        self._next_check = asyncio.get_running_loop().time() + self._interval
        before = self._seen
        self._seen = await asyncio.to_thread(stamps_of, self._paths)
        return self._seen != before
