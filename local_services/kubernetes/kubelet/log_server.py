"""What the API server asks a kubelet for: the logs of containers."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO

from aiohttp import web

from local_services.kubernetes.kubelet.container import Container
from local_services.kubernetes.kubelet.node import KUBELET_PORT
from local_services.kubernetes.kubelet.pods import Pods

_CHUNK = 1 << 20
_PAUSE = 0.1


@asynccontextmanager
async def serve_logs(
    pods: Pods, *, address: str, certificate: Path, key: Path
) -> AsyncIterator[None]:
    """Answer ``/containerLogs`` over TLS while the context lasts."""

    async def answer(request: web.Request) -> web.StreamResponse:
        return await _answer(request, pods)

    application = web.Application()
    application.router.add_get("/containerLogs/{namespace}/{pod}/{container}", answer)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate, key)
    await web.TCPSite(runner, address, KUBELET_PORT, ssl_context=tls).start()
    try:
        yield
    finally:
        await runner.cleanup()


async def _answer(request: web.Request, pods: Pods) -> web.StreamResponse:
    wanted = request.match_info
    container = _find(pods, wanted["namespace"], wanted["pod"], wanted["container"])
    if container is None:
        return web.Response(status=404, text=f"container {wanted['container']} is not known\n")
    is_previous = request.query.get("previous") == "true"
    path = _path(container, is_previous=is_previous)
    if path is None:
        return web.Response(status=400, text=_reason(container, wanted["pod"], is_previous))
    response = web.StreamResponse(headers={"Content-Type": "text/plain"})
    await response.prepare(request)
    with path.open("rb") as log:
        for chunk in _beginning(log, request):
            await response.write(chunk)
        while request.query.get("follow") == "true":
            is_over = not container.is_running or path != _path(container, is_previous=False)
            if chunk := log.read(_CHUNK):
                await response.write(chunk)
            elif is_over:
                break
            else:
                await asyncio.sleep(_PAUSE)
    return response


def _find(pods: Pods, namespace: str, pod_name: str, name: str) -> Container | None:
    for pod in pods:
        if (pod.namespace, pod.name) == (namespace, pod_name):
            return next((c for c in pod.all_containers if c.name == name), None)
    return None


def _path(container: Container, *, is_previous: bool) -> Path | None:
    """The newest log, or that of the container which ended before."""
    paths = [container.log_path(restart) for restart in range(container.restarts + 1)]
    newest = next((path for path in reversed(paths) if path.exists()), None)
    if not is_previous:
        return newest
    if not container.last_state:
        return None
    return paths[-2] if container.is_running else newest


def _reason(container: Container, pod_name: str, is_previous: bool) -> str:
    if is_previous:
        return f'previous terminated container "{container.name}" in pod "{pod_name}" not found\n'
    why = container.state.get("waiting", {}).get("reason", "unknown")
    return f'container "{container.name}" in pod "{pod_name}" is waiting to start: {why}\n'


def _beginning(log: IO[bytes], request: web.Request) -> Iterator[bytes]:
    """What is there already, of which ``tailLines`` and ``limitBytes`` ask for a part."""
    limit = int(request.query["limitBytes"]) if "limitBytes" in request.query else None
    if "tailLines" in request.query:
        count = int(request.query["tailLines"])
        text = b"".join(log.read().splitlines(keepends=True)[-count:] if count else [])
        yield text[:limit]
        return
    if limit is not None:
        yield log.read(limit)
        return
    while chunk := log.read(_CHUNK):
        yield chunk
