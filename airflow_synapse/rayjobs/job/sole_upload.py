"""Lets one task of a machine at a time send a package to a cluster.

Many tasks start at once with the same plugin. Ray's dashboard keeps each upload in memory, so a hundred
tasks that all send 90 MiB could take the head node down.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import random
import stat
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from filelock import FileLock, Timeout

log = logging.getLogger(__name__)

LONGEST_WAIT = 600.0
"""Seconds after which a package is sent even though another task seems to be sending it."""

_SHORTEST_LOOK = 0.05
_LONGEST_LOOK = 0.5
"""Seconds between two checks whether another task is still sending the package."""


@asynccontextmanager
async def sole_upload(
    uri: str, address: str, *, longest_wait: float = LONGEST_WAIT
) -> AsyncIterator[None]:
    """Wait until no other task of this machine is sending the package to the cluster.

    The lock belongs to the operating system, so it disappears with the process that holds it. If there is
    no folder for it that only we can write to, nobody waits.

    :param uri: The package.
    :param address: The cluster.
    :param longest_wait: Seconds after which the wait ends in any case.
    """
    folder = await asyncio.to_thread(_own_folder)
    if folder is None:
        yield
        return
    name = hashlib.sha256(f"{address} {uri}".encode()).hexdigest()[:32]
    lock = FileLock(folder / f"{name}.lock", thread_local=False)
    await _acquire(lock, longest_wait)
    try:
        yield
    finally:
        lock.release()


async def _acquire(lock: FileLock, longest_wait: float) -> None:
    loop = asyncio.get_running_loop()
    deadline, pause = loop.time() + longest_wait, _SHORTEST_LOOK
    while not await asyncio.to_thread(_try, lock):
        if loop.time() >= deadline:
            log.warning(
                "Another task of this machine has been sending the same package for %g s, so it is sent "
                "once more.",
                longest_wait,
            )
            return
        await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311  # no secret depends on it
        pause = min(_LONGEST_LOOK, pause * 1.5)


def _try(lock: FileLock) -> bool:
    """Take the lock if it is free. A lock that is taken for who no longer waits is left when it is forgotten."""
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return False
    except OSError as exc:
        log.debug("No lock for an upload: %r", exc)
    return True


def _own_folder() -> Path | None:
    """Return a folder for locks into which nobody else can write, None if there is none."""
    folder = Path(tempfile.gettempdir(), f"airflow-synapse-{os.getuid()}")
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError:
        return None
    is_ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()
    return folder if is_ours and not found.st_mode & 0o022 else None
