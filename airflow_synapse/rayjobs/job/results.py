"""Reads an action's result: a file that the action runtime leaves beside the job's log."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from typing import Any

from anyio import current_time, fail_after

from airflow_synapse.exceptions import (
    ExecutionError,
    RayClusterUnreachableError,
    RayLogNotFoundError,
)
from airflow_synapse.rayjobs.client.jobs_api import JobsApi
from airflow_synapse.rayjobs.job.failures import error_of
from airflow_synapse.rayjobs.job.storage import read_kept
from airflow_synapse.rayjobs.models import ACTION_KEY, COPIES_KEY, RESULT_KEY, SUCCEEDED, JobInfo
from airflow_synapse.rayjobs.patience import Backoff

_MISSING_IS_BELIEVED_AFTER = 4
"""After how many tries a missing or incomplete result is believed. A busy head sometimes answers 200 with
an empty file or a part of it."""


MAX_RESULT = 512 * 1024 * 1024
"""Bytes of the largest result that is read."""

_PLACEHOLDER = b'{"returned": false}'
"""What the action runtime keeps in the file until the action returns."""

_NOT_RETURNED = "its action has not returned"


def result_file(job_id: str) -> str:
    """Return the name of the file with a job's result in Ray's log directory."""
    return f"airflow-synapse-result-{job_id}.json"


async def read_result(
    api: JobsApi,
    info: JobInfo,
    *,
    max_bytes: int | None = None,
    on_progress: Callable[[], object] = lambda: None,
) -> dict[str, Any] | None:
    """Return the ``{"result": …}`` that the job's action left.

    The node of the job's driver may be gone, so a job that did not run on the head leaves a copy: in its
    metadata if it is small, otherwise on the head. This may take any time, as long as the bytes keep coming.

    :param max_bytes: If the file is larger, return None. The default is :data:`MAX_RESULT`.
    :param on_progress: Called when some bytes have come.
    :raises RayLogNotFoundError: if there is no readable result.
    :raises RayClusterUnreachableError: if another try may find one.
    """
    if RESULT_KEY in info.metadata:
        with suppress(RayLogNotFoundError):  # somebody else wrote it
            return _document(info, info.metadata[RESULT_KEY].encode())
    if info.driver_node_id is None:
        raise RayLogNotFoundError(job_id=info.job_id, reason="never ran on a node")
    reading = _Reading(api, info, MAX_RESULT if max_bytes is None else max_bytes, on_progress)
    backoff = Backoff(first=0.2)
    must_be_there = info.status == SUCCEEDED and ACTION_KEY in info.metadata
    for _ in range(_MISSING_IS_BELIEVED_AFTER - 1 if must_be_there else 0):
        try:
            return await reading.from_any_node()
        except RayLogNotFoundError as exc:
            if exc.reason == _NOT_RETURNED:  # and it never will
                raise
            await asyncio.sleep(backoff.next_pause())
    return await reading.from_any_node()


@dataclass(frozen=True)
class _Reading:
    """How the file with one job's result is read."""

    api: JobsApi
    info: JobInfo
    max_bytes: int
    on_progress: Callable[[], object]

    async def from_any_node(self) -> dict[str, Any] | None:
        """Read the copy on the head, if there is one, or else the file on the node of the job's driver."""
        head = self.info.metadata.get(COPIES_KEY)
        if head is not None:  # the head comes first: a dead node may hang until it counts as dead
            with suppress(RayLogNotFoundError, RayClusterUnreachableError):
                return await self._from_node(replace(self.info, driver_node_id=head))
        return await self._from_node(self.info)

    async def _from_node(self, info: JobInfo) -> dict[str, Any] | None:
        document = bytearray()
        async with aclosing(self.api.read_file(info, result_file(info.job_id))) as chunks:
            async for chunk in chunks:
                document += chunk
                self.on_progress()
                if len(document) > self.max_bytes:
                    return None
        return _document(info, document)


def _document(info: JobInfo, document: bytes | bytearray) -> dict[str, Any]:
    if not document:  # which the route sometimes answers if there is no such file
        raise RayLogNotFoundError(job_id=info.job_id, reason="left no result")
    if document == _PLACEHOLDER:
        raise RayLogNotFoundError(job_id=info.job_id, reason=_NOT_RETURNED)
    try:
        return {"result": json.loads(document)["result"]}
    except (ValueError, TypeError, KeyError, RecursionError) as exc:
        raise RayLogNotFoundError(
            job_id=info.job_id, reason="left a result that is incomplete or was overwritten"
        ) from exc


async def get_result(api: JobsApi, job_id: str, *, storage: str | None = None) -> Any:
    """Return what the job's action returned. Ends once no byte has come for a ``request_timeout``.

    :param storage: The root of all jobs' storage, where a copy is if the cluster has lost the result.
    :raises ExecutionError: if the job has not SUCCEEDED, if it has no result, or if the result is larger
        than :data:`MAX_RESULT`.
    :raises RayClusterUnreachableError: if another try may find one.
    """
    limit, cluster = api.cluster.request_timeout, api.cluster.address
    try:
        with fail_after(limit) as scope:

            def note_progress() -> None:
                scope.deadline = current_time() + limit

            info = await api.get_info(job_id)
            error = error_of(info, cluster=cluster)
            if error is not None:
                raise error
            document = await read_result(api, info, on_progress=note_progress)
    except RayLogNotFoundError as exc:
        document = await _kept_document(storage, info)
        if document is None:
            raise no_result(info, exc, cluster=cluster) from exc
    except TimeoutError as exc:
        raise api.unreachable("it did not answer in time", job_id) from exc
    if document is None:
        raise ExecutionError(
            job_id=job_id,
            cluster=cluster,
            status=info.status,
            reason=f"has a result of more than {MAX_RESULT // 1024**2} MiB, which is not read",
            hint="Let the action write it to a storage of yours, and return where it is.",
        )
    return document["result"]


async def _kept_document(storage: str | None, info: JobInfo) -> dict[str, Any] | None:
    if storage is None or info.status != SUCCEEDED:
        return None
    data = await read_kept(storage, info, result_file(info.job_id), max_bytes=MAX_RESULT)
    with suppress(RayLogNotFoundError):
        return _document(info, data or b"")
    return None


def no_result(info: JobInfo, cause: RayLogNotFoundError, *, cluster: str) -> ExecutionError:
    """Return the error for a job without a result, with what to do about it.

    :param cause: Why it can't be read.
    """
    if info.status != SUCCEEDED:
        hint = "A job has a result only once it has SUCCEEDED."
    elif ACTION_KEY not in info.metadata:
        hint = "It runs a command, and only plugin actions and functions return something."
    elif cause.reason == _NOT_RETURNED:
        hint = (
            "The action ended its own process (os._exit, os.exec…) with exit code 0 before it returned. Let "
            "the action return, or set do_xcom_push=False if nobody needs a result. A new try of the task runs "
            "the action again."
        )
    else:
        hint = (
            "Its node may be gone, or the result could not be written or copied. In that case, the job's log "
            "says so. A new try of the task runs the action again."
        )
    return ExecutionError(
        job_id=info.job_id,
        cluster=cluster,
        status=info.status,
        reason=f"is {info.status} and has no result ({cause.reason})",
        hint=hint,
    )
