"""Where the storage of a job is, and what can be read there when the cluster has lost it.

Only the root and the submitter's own ids make up the path: nothing that the job says.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
import stat
from collections.abc import Mapping
from typing import Any

from airflow_synapse.action_runtime.copies.storage import COPIES_SUFFIX
from airflow_synapse.action_runtime.reports.surroundings import EARLIER_STORAGE_PATHS, STORAGE_PATH
from airflow_synapse.rayjobs.models import JobInfo

_KEYS = ("airflow_dag_id", "airflow_run_id", "airflow_task_id", "airflow_map_index")
_CLEAR_KEY = "airflow_max_tries"
_MOST_EARLIER = 100
_HASH_LENGTH = 8
_PATIENCE = 60.0
"""Seconds that a storage may take for one file."""
_UNFIT = re.compile(r"[/\\?#%\x00-\x1f\x7f]")
"""What can't be in one component of a path, or means something else in a URI."""


def storage_path(root: str, *, job_id: str, metadata: Mapping[str, str]) -> str:
    """Return the folder or URI that a job gets.

    For a task of Airflow it is ``<root>/<dag>/<run>/<task>[/<map index>]/<clear>``, the same for all of its
    tries; for other jobs ``<root>/<job_id>``. A clear sets ``max_tries`` to another number, which no try
    changes, so that number stands for it.

    :param metadata: The job's metadata, which its submitter has set.
    """
    parent = _of_task(root, metadata)
    clear = metadata.get(_CLEAR_KEY)
    if parent is None or clear is None:
        return f"{root.rstrip('/')}/{component(job_id)}"
    return f"{parent}/{component(clear)}"


def storage_vars(root: str, *, job_id: str, metadata: Mapping[str, str]) -> dict[str, str]:
    """Return the environment variables by which a job learns of its storage."""
    told = {STORAGE_PATH: storage_path(root, job_id=job_id, metadata=metadata)}
    parent, clear = _of_task(root, metadata), metadata.get(_CLEAR_KEY, "")
    is_cleared = clear.isdigit() and clear != metadata.get("airflow_retries")
    if parent is not None and is_cleared:
        lowest = max(0, int(clear) - _MOST_EARLIER)
        earlier = [f"{parent}/{number}" for number in range(int(clear) - 1, lowest - 1, -1)]
        told[EARLIER_STORAGE_PATHS] = json.dumps(earlier)
    return told


def _of_task(root: str, metadata: Mapping[str, str]) -> str | None:
    if not all(metadata.get(key) for key in _KEYS):
        return None
    *names, map_index = (metadata[key] for key in _KEYS)
    parts = [component(name) for name in names]
    if map_index != "-1":
        parts.append(component(map_index))
    return "/".join([root.rstrip("/"), *parts])


def component(name: str) -> str:
    """Return a name as one component of a path. Another name never becomes the same."""
    fitting = _UNFIT.sub("_", name)
    if fitting == name and name not in ("", ".", ".."):
        return name
    return f"{fitting}-{hashlib.sha256(name.encode()).hexdigest()[:_HASH_LENGTH]}"


async def read_kept(root: str, info: JobInfo, name: str, *, max_bytes: int) -> bytes | None:
    """Return a file that the job has copied to its storage; None if there is none that can be read here.

    For a URI, this process needs fsspec, which Airflow brings.

    :param max_bytes: How much of it to read.
    """
    folder = storage_path(root, job_id=info.job_id, metadata=info.metadata) + COPIES_SUFFIX
    try:
        reading = asyncio.to_thread(_read, f"{folder}/{name}", max_bytes)
        return await asyncio.wait_for(reading, _PATIENCE)
    except asyncio.TimeoutError:  # a storage that hangs does not have it either
        return None


def _read(path: str, max_bytes: int) -> bytes | None:
    try:
        with _opened(path) as file:
            return bytes(file.read(max_bytes))
    except Exception:  # noqa: BLE001  # whatever a storage raises: then it does not have the file
        return None


def _opened(path: str) -> Any:
    if "://" not in path or path.startswith("file://"):
        return _plain_file(path.removeprefix("file://"))
    import fsspec

    return fsspec.open(path, "rb")


def _plain_file(path: str) -> Any:
    """Open a file. The job may have put anything there: no link is followed, and no pipe is waited for.

    :raises OSError: if it is no plain file.
    """
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(f"{path} is no plain file")
    return os.fdopen(fd, "rb")
