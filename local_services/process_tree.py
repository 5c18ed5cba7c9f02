"""Everything a service has started, found and killed, whoever its parent is by now."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator

import psutil

TAG_VARIABLE = "LOCAL_SERVICE_TAG"
"""Environment variable that a service hands down to all it starts."""

_GONE = (psutil.Error, OSError)


def kill_all(tag: str, pid: int, *, timeout: float = 10.0) -> None:
    """Kill the service of this tag and pid with all it has started, and see them gone.

    A Ray job runs in a session of its own and outlives its parent, and processes that rename
    themselves lose their environment from sight. So children, session and tag all count.

    :raises RuntimeError: if some are still there after ``timeout`` seconds.
    """
    deadline = time.monotonic() + timeout
    while members := list(_members(tag, pid)):
        for process in members:
            with contextlib.suppress(*_GONE):
                process.kill()
        if time.monotonic() > deadline:
            raise RuntimeError(f"these processes can't be killed: {members}")
        psutil.wait_procs(members, timeout=0.5)


def _members(tag: str, pid: int) -> Iterator[psutil.Process]:
    family = {pid, *_descendants(pid)}
    for process in psutil.process_iter():
        with contextlib.suppress(*_GONE):
            if process.pid == os.getpid() or process.status() == psutil.STATUS_ZOMBIE:
                continue
            if process.pid in family or os.getsid(process.pid) == pid or _has_tag(process, tag):
                yield process


def _descendants(pid: int) -> set[int]:
    try:
        return {child.pid for child in psutil.Process(pid).children(recursive=True)}
    except _GONE:
        return set()


def _has_tag(process: psutil.Process, tag: str) -> bool:
    return bool(process.environ().get(TAG_VARIABLE) == tag)
