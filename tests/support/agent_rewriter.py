"""A reverse proxy before a real dashboard that tells another address of the agent on the job's node.

Logs are read straight from that agent, past any proxy before the dashboard. With this one between,
a test has both ways in its hand.
"""

from __future__ import annotations

import asyncio
import re
import threading
from typing import Any

import aiohttp
from aiohttp import web

_AGENT = re.compile(rb'"driver_agent_http_address": "http://[^"]+"')
_CHUNK = 64 * 1024
_NOT_PASSED_ON = {"transfer-encoding", "content-length", "connection"}


class AgentRewriter:
    """Passes all to ``target``, but for the agent's address in what it answers. Use it with ``with``.

    :param target: The dashboard's URL.
    :param agent_url: What is told as the agent's address.
    """

    def __init__(self, target: str, agent_url: str) -> None:
        self._target = target
        self._agent = b'"driver_agent_http_address": "%s"' % agent_url.encode()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._runner: web.AppRunner | None = None
        self._session: aiohttp.ClientSession | None = None
        self.url = ""

    def __enter__(self) -> AgentRewriter:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._open(), self._loop).result(10)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(30)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _open(self) -> None:
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=None), auto_decompress=False
        )
        app = web.Application(client_max_size=2**30)
        app.router.add_route("*", "/{path:.*}", self._pass_on)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"

    async def _close(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
        if self._session is not None:
            await self._session.close()

    async def _pass_on(self, request: web.Request) -> web.StreamResponse:
        assert self._session is not None
        headers = {k: v for k, v in request.headers.items() if k.lower() not in _NOT_PASSED_ON}
        arguments: dict[str, Any] = {"data": await request.read(), "headers": headers}
        url = f"{self._target}{request.raw_path}"
        async with self._session.request(request.method, url, **arguments) as answer:
            if answer.content_type == "application/json":
                body = _AGENT.sub(self._agent, await answer.read())
                return web.Response(status=answer.status, body=body, headers=_kept(answer))
            response = web.StreamResponse(status=answer.status, headers=_kept(answer))
            await response.prepare(request)
            async for chunk in answer.content.iter_chunked(_CHUNK):
                await response.write(chunk)
            await response.write_eof()
            return response


def _kept(answer: aiohttp.ClientResponse) -> dict[str, str]:
    return {k: v for k, v in answer.headers.items() if k.lower() not in _NOT_PASSED_ON}
