"""A proxy that lets only the bearer of its present token through, as an identity-aware proxy does."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import aiohttp
from aiohttp import web
from yarl import URL

from tests.support.stub_server import StubServer, text_answer

_HOP_BY_HOP = {"connection", "host", "transfer-encoding", "content-length", "keep-alive"}
_AGENT = b'"driver_agent_http_address": "http://'
_NO_AGENT = b'"driver_agent_http_address": "none://'


class TokenProxy(StubServer):
    """Passes everything to ``target``, with the token of this moment only.

    :param target: The URL of the server behind it.
    :param header: The header that it looks at. It does not pass it on.
    :param status: What it answers to others.
    :param hides_agents: Whether nobody learns where the agents are, so that logs go through here, too.
    """

    def __init__(
        self,
        target: str,
        *,
        header: str = "Authorization",
        status: int = 401,
        hides_agents: bool = False,
    ) -> None:
        super().__init__(token=None, clock=time.monotonic)
        self.url = ""
        self.valid = "token-0"
        self.refused: list[str] = []
        self.let_in = 0
        self.on_request: Callable[[web.Request], object] = lambda _: None
        self._target = target
        self._header = header
        self._status = status
        self._hides_agents = hides_agents
        self._count = 0
        self._session: aiohttp.ClientSession | None = None

    def rotate(self) -> str:
        """Make a new token the only good one, and return it."""
        self._count += 1
        self.valid = f"token-{self._count}"
        return self.valid

    @contextmanager
    def rotating(self, every: float, tell: Callable[[str], object]) -> Iterator[None]:
        """Rotate the token again and again meanwhile, each time once somebody was let in with the one before.

        :param every: After so many seconds, at the earliest.
        :param tell: Told each new token, right after the old one has stopped being good.
        """
        is_over = threading.Event()

        def rotate() -> None:
            let_in = -1
            while not is_over.wait(every):
                if self.let_in > let_in:
                    let_in = self.let_in
                    tell(self.rotate())

        thread = threading.Thread(target=rotate, daemon=True)
        thread.start()
        try:
            yield
        finally:
            is_over.set()
            thread.join(10)

    async def open_ports(self) -> None:
        self._session = aiohttp.ClientSession(auto_decompress=False)
        self.url = await self.serve([("* /{path:.*}", self._pass_on)])

    async def __aexit__(self, *error: object) -> None:
        if self._session is not None:
            await self._session.close()
        await super().__aexit__(*error)

    async def _pass_on(self, request: web.Request) -> web.StreamResponse:
        self.on_request(request)
        given = request.headers.get(self._header, "")
        if given != f"Bearer {self.valid}":
            self.refused.append(f"{request.method} {request.path}")
            return text_answer(self._status, "Who are you?")
        self.let_in += 1
        assert self._session is not None
        url = self._target + request.raw_path
        edit = _hide_agents if self._hides_agents else None
        return await pass_on(self._session, request, url, without=self._header, edit=edit)


def _hide_agents(body: bytes) -> bytes:
    return body.replace(_AGENT, _NO_AGENT)


async def pass_on(
    session: aiohttp.ClientSession,
    request: web.Request,
    url: str,
    *,
    without: str,
    edit: Callable[[bytes], bytes] | None = None,
) -> web.StreamResponse:
    """Answer with what another server answers, in pieces as they come.

    :param url: Where to send the request.
    :param without: A header that is not passed on.
    :param edit: Changes a JSON answer.
    """
    headers = {
        name: value
        for name, value in request.headers.items()
        if name.lower() not in {*_HOP_BY_HOP, without.lower()}
    }
    async with session.request(
        request.method,
        URL(url, encoded=True),
        headers=headers,
        data=request.content.iter_any() if request.body_exists else None,
        allow_redirects=False,
    ) as answer:
        response = web.StreamResponse(status=answer.status)
        for name, value in answer.headers.items():
            if name.lower() not in _HOP_BY_HOP:
                response.headers[name] = value
        await response.prepare(request)
        if edit is not None and answer.content_type == "application/json":
            await response.write(edit(await answer.read()))
        async for chunk in answer.content.iter_any():
            await response.write(chunk)
        await response.write_eof()
        return response


def json_web_token(*, lives: float, number: int = 0) -> str:
    """Return a token that says when it expires, and whose signature is none."""
    claims = {"exp": time.time() + lives, "jti": number}
    parts = ({"alg": "none"}, claims, {"signature": number})
    return ".".join(
        base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts
    )


async def until(is_so: Callable[[], object]) -> None:
    """Wait until something is so."""
    while not is_so():  # what it waits for happens in another thread
        await asyncio.sleep(0.01)
