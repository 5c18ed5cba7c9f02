"""Sends package files as long as the cluster keeps reading them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp

from airflow_synapse.exceptions import RayClusterUnreachableError
from airflow_synapse.rayjobs.client.answers import AbsentError
from airflow_synapse.rayjobs.client.budget import Kind, Lane
from airflow_synapse.rayjobs.client.credentials.access import Access
from airflow_synapse.rayjobs.client.session import Session
from airflow_synapse.rayjobs.reporting import UploadProgress

_CHUNK = 256 * 1024


async def upload_file(
    session: Session, route: str, path: Path, *, lane: Lane, on_progress: UploadProgress | None
) -> None:
    """Send a file. This may take any time, as long as the cluster reads some bytes per ``request_timeout``.

    :param route: The path to send it to.
    :param on_progress: Called with how far the upload is.
    :raises RayClusterUnreachableError: if the cluster stopped reading.
    """
    while True:
        sent = session.credentials.current
        try:
            await _send(session, route, path, lane=lane, on_progress=on_progress)
        except RayClusterUnreachableError as exc:
            is_broken = exc.__cause__ is not None  # and not only slow
            if not (is_broken and await _was_refused(session, route, sent, lane)):
                raise
        else:
            return


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
    progress = _Progress(size, on_progress)
    upload = asyncio.ensure_future(_put(session, route, path, progress, lane))
    try:
        while not upload.done():
            seen = progress.chunks
            await asyncio.wait({upload}, timeout=session.cluster.request_timeout)
            if not upload.done() and progress.chunks == seen:
                raise session.unreachable("it stopped reading during the upload of a package")
        await upload
    finally:
        if not upload.done():
            session.abort()
            upload.cancel()
            await asyncio.wait({upload})


async def _put(session: Session, route: str, path: Path, progress: _Progress, lane: Lane) -> None:
    limit = session.cluster.request_timeout
    async with session.request(
        "PUT",
        route,
        lane=lane,
        kind=Kind.STREAM,
        timeout=aiohttp.ClientTimeout(total=None, connect=limit, sock_read=limit),
        data=lambda: progress.chunks_of(path),  # again, if the first was refused
        headers={
            "Content-Length": str(progress.size),
            "Content-Type": "application/octet-stream",
        },
    ):
        pass


class _Progress:
    """How far an upload is."""

    def __init__(self, size: int, tell: UploadProgress | None) -> None:
        self.size = size
        self.chunks = 0
        self._sent = 0
        self._tell = tell

    async def chunks_of(self, path: Path) -> AsyncIterator[bytes]:
        """Yield a file's content, and count the bytes that were taken."""
        self._sent = 0
        with await asyncio.to_thread(path.open, "rb") as file:
            while chunk := await asyncio.to_thread(file.read, _CHUNK):
                yield chunk
                self._add(len(chunk))

    def _add(self, count: int) -> None:
        self.chunks += 1
        self._sent += count
        if self._tell is not None:
            self._tell(self._sent, self.size)
