"""Reads an action's result: a file that the action runtime leaves beside the job's log."""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing
from typing import Any

from airflow_synapse.exceptions import ExecutionError, RayLogNotFoundError
from airflow_synapse.rayjobs.client.jobs_api import JobsApi
from airflow_synapse.rayjobs.models import ACTION_KEY, SUCCEEDED, JobInfo
from airflow_synapse.rayjobs.patience import Backoff

_MISSING_IS_BELIEVED_AFTER = 4
"""After how many tries a missing or incomplete result is believed. A busy head sometimes answers 200 with
an empty file or a part of it."""


_PLACEHOLDER = b'{"returned": false}'
"""What the action runtime keeps in the file until the action returns."""

_NOT_RETURNED = "its action has not returned"


def result_file(job_id: str) -> str:
    """Return the name of the file with a job's result in Ray's log directory."""
    return f"airflow-synapse-result-{job_id}.json"


async def read_result(
    api: JobsApi, info: JobInfo, *, max_bytes: int | None = None
) -> dict[str, Any] | None:
    """Return the ``{"result": …}`` that the job's action left.

    :param max_bytes: If the file is larger, return None.
    :raises RayLogNotFoundError: if there is no readable result.
    """
    if info.driver_node_id is None:
        raise RayLogNotFoundError(job_id=info.job_id, reason="never ran on a node")
    backoff = Backoff(first=0.2)
    must_be_there = info.status == SUCCEEDED and ACTION_KEY in info.metadata
    for _ in range(_MISSING_IS_BELIEVED_AFTER - 1 if must_be_there else 0):
        try:
            return await _read_once(api, info, max_bytes)
        except RayLogNotFoundError as exc:
            if exc.reason == _NOT_RETURNED:  # and it never will
                raise
            await asyncio.sleep(backoff.next_pause())
    return await _read_once(api, info, max_bytes)


async def _read_once(api: JobsApi, info: JobInfo, max_bytes: int | None) -> dict[str, Any] | None:
    document = bytearray()
    async with aclosing(api.read_file(info, result_file(info.job_id))) as chunks:
        async for chunk in chunks:
            document += chunk
            if max_bytes is not None and len(document) > max_bytes:
                return None
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
            "the action return, or set do_xcom_push=False if nobody needs a result."
        )
    else:
        hint = "Its node may be gone, or the result could not be written. In that case, the job's log says so."
    return ExecutionError(
        job_id=info.job_id,
        cluster=cluster,
        status=info.status,
        reason=f"is {info.status} and has no result ({cause.reason})",
        hint=hint,
    )
