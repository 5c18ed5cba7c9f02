"""The kubelet's requests to the API server, which outlive its restarts."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Collection
from pathlib import Path
from types import TracebackType
from typing import Any

from aiohttp import ClientError, ClientSession, ClientTimeout, TCPConnector

Seen = dict[str, Any]
"""An object of Kubernetes, as JSON."""

_STARTING = frozenset({401, 403, 429, 500, 503, 504})
"""What an API server answers that has just started, with rights that are fine."""

_PAUSE = 0.5
_PATIENCE = 120
"""Tries, which is a minute."""

_LONGEST_EVENT = 1 << 24


class ApiError(RuntimeError):
    """The API server refuses a request."""


class Api:
    """A session with the API server. Use it as a context manager."""

    def __init__(self, url: str, *, token: str, ca: Path) -> None:
        self._url = url
        self._headers = {"Authorization": f"Bearer {token}"}
        self._tls = ssl.create_default_context(cafile=str(ca))

    async def __aenter__(self) -> Api:
        connector = TCPConnector(ssl=self._tls, limit=0)
        self._session = ClientSession(connector=connector, headers=self._headers)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._session.close()

    async def call(
        self,
        method: str,
        path: str,
        body: Seen | None = None,
        *,
        kind: str = "application/json",
        fine: Collection[int] = (),
    ) -> Seen | None:
        """Return the answer, or None if its status is one of ``fine``.

        :raises ApiError: if the request is refused, or unanswered for a minute.
        """
        last = ""
        for _ in range(_PATIENCE):
            try:
                status, last = await self._send(method, path, body, kind)
                if status < 400:
                    return dict(json.loads(last))
                if status in fine:
                    return None
                if status not in _STARTING:
                    break
            except (OSError, ClientError, TimeoutError, asyncio.TimeoutError, ValueError) as exc:
                last = repr(exc)
            await asyncio.sleep(_PAUSE)
        raise ApiError(f"{method} {path}: {last[:500]}")

    async def _send(self, method: str, path: str, body: Seen | None, kind: str) -> tuple[int, str]:
        async with self._session.request(
            method,
            self._url + path,
            data=None if body is None else json.dumps(body),
            headers={"Content-Type": kind},
            timeout=ClientTimeout(total=30),
        ) as response:
            return response.status, await response.text()

    async def follow(self, path: str, query: str = "") -> AsyncIterator[tuple[str, list[Seen]]]:
        """Yield ``("ALL", objects)``, then each change by its type; for ever, over all restarts."""
        while True:
            try:
                async for change in self._list_and_watch(path, query):
                    yield change
            except (OSError, ClientError, asyncio.TimeoutError, ApiError, ValueError) as exc:
                print(f"watching {path}: {exc!r}", flush=True)
                await asyncio.sleep(_PAUSE)

    async def _list_and_watch(self, path: str, query: str) -> AsyncIterator[tuple[str, list[Seen]]]:
        listed = await self.call("GET", f"{path}?{query}") or {}
        yield "ALL", listed.get("items") or []
        since = listed["metadata"]["resourceVersion"]
        async with self._session.get(
            f"{self._url}{path}?watch=1&resourceVersion={since}&timeoutSeconds=300&{query}",
            timeout=ClientTimeout(total=None, sock_read=330),
            read_bufsize=_LONGEST_EVENT,
        ) as response:
            async for line in response.content:
                change = json.loads(line)
                if change["type"] == "ERROR":
                    return
                yield change["type"], [change["object"]]
