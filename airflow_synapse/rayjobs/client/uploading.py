"""Sends package files as long as the cluster keeps reading them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from typing import Any

import aiohttp

from airflow_synapse.exceptions import RayClusterUnreachableError, RayJobSubmissionError
from airflow_synapse.rayjobs.client.answers import AbsentError, TooLargeError
from airflow_synapse.rayjobs.client.budget import Kind, Lane
from airflow_synapse.rayjobs.client.credentials.access import Access
from airflow_synapse.rayjobs.client.session import Session
from airflow_synapse.rayjobs.reporting import UploadProgress
from airflow_synapse.rayjobs.threads import entered_in_thread

_CHUNK = 256 * 1024


async def upload_file(
    session: Session, route: str, path: Path, *, lane: Lane, on_progress: UploadProgress | None
) -> None:
    """Send a file. This may take any time, as long as the cluster reads some bytes per ``request_timeout``.

    :param route: The path to send it to.
    :param on_progress: Called with how far the upload is.
    :raises RayClusterUnreachableError: if the cluster stopped reading.
    :raises RayJobSubmissionError: if the file is larger than the cluster, or a proxy, accepts.
    """
    while True:
        sent = session.credentials.current
        try:
            await _send(session, route, path, lane=lane, on_progress=on_progress)
        except TooLargeError as exc:
            raise await _too_large(session, path, exc) from exc
        except RayClusterUnreachableError as exc:
            is_broken = exc.__cause__ is not None  # and not only slow
            if not (is_broken and await _was_refused(session, route, sent, lane)):
                raise
        else:
            return


async def _too_large(session: Session, path: Path, error: TooLargeError) -> Exception:
    size = (await asyncio.to_thread(path.stat)).st_size
    who = f" (it calls itself {error.server[:50]!r})" if error.server else ""
    return RayJobSubmissionError(
        cluster=session.cluster.address,
        reason=f"its package has {size / 1024**2:.1f} MiB, and something on the way to Ray accepts no request of "
        f"this size: it answered 413{who}, while Ray's own limit is 100 MiB",
        hint="Raise the limit of the proxy in front of the dashboard, which is client_max_body_size in nginx. Or "
        "put a .zip of the folder where the cluster can read it, and give its URI as working_dir.",
    )


async def _was_refused(session: Session, route: str, sent: Access | None, lane: Lane) -> bool:
    """Return whether an upload broke because its credentials were refused, and there are others now.

    A proxy refuses an upload without reading it, and that may break the connection before the answer arrives.
    """
    if sent is None or not session.credentials.may_become_good:
        return False
    try:
        async with session.request("GET", route, lane=lane):
            pass
    except AbsentError:
        pass
    return session.credentials.current is not sent


async def _send(
    session: Session, route: str, path: Path, *, lane: Lane, on_progress: UploadProgress | None
) -> None:
    size = (await asyncio.to_thread(path.stat)).st_size
    async with entered_in_thread(lambda: path.open("rb")) as file:
        progress = _Progress(file.fileno(), size, on_progress)
        await _watched(session, _put(session, route, progress, lane), progress)


async def _watched(session: Session, put: Coroutine[Any, Any, None], progress: _Progress) -> None:
    """Upload as long as the cluster reads. However it ends, nothing is read or sent any more."""
    upload = asyncio.ensure_future(put)
    try:
        while not upload.done():
            seen = progress.chunks_taken
            await asyncio.wait({upload}, timeout=session.cluster.request_timeout)
            if not upload.done() and progress.chunks_taken == seen:
                raise session.unreachable("it stopped reading during the upload of a package")
        await upload
    finally:
        if not upload.done():
            session.abort()
            upload.cancel()
            await asyncio.wait({upload})


async def _put(session: Session, route: str, progress: _Progress, lane: Lane) -> None:
    limit = session.cluster.request_timeout
    async with session.request(
        "PUT",
        route,
        lane=lane,
        kind=Kind.STREAM,
        timeout=aiohttp.ClientTimeout(total=None, connect=limit, sock_read=limit),
        data=progress.chunks,  # again, if the first was refused
        headers={
            "Content-Length": str(progress.size),
            "Content-Type": "application/octet-stream",
        },
    ):
        pass


class _Progress:
    """How far the upload of an open file is."""

    def __init__(self, file: int, size: int, tell: UploadProgress | None) -> None:
        self.size = size
        self.chunks_taken = 0
        self._file = file
        self._tell = tell

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the file's content, and count the bytes that were taken."""
        sent = 0
        while chunk := await asyncio.to_thread(os.pread, self._file, _CHUNK, sent):
            yield chunk
            self.chunks_taken += 1
            sent += len(chunk)
            if self._tell is not None:
                self._tell(sent, self.size)
