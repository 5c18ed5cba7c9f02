"""A server for tests: it notes every request, asks for a token and fails on demand."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from email.utils import formatdate
from typing import TYPE_CHECKING

from aiohttp import web

from tests.support.faults import (
    Answer,
    CutBody,
    Delay,
    Fault,
    FaultPlan,
    Hang,
    LoseAnswer,
    Reset,
    reset_connection,
)

if TYPE_CHECKING:
    from typing_extensions import Self  # in typing from Python 3.11 on

_bytes_until_cut: ContextVar[int | None] = ContextVar("bytes_until_cut", default=None)
"""How much of the body the fault of the request at hand lets through."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True)
class Call:
    """One request that was made, in order of arrival."""

    route: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    at: float


class StubServer:
    """Base of stub servers, each of one or more ports.

    ``async with`` runs it in the event loop of the test, ``with`` in a thread of its own.

    :param token: Ask every caller for this bearer token.
    :param clock: What it notes the time of calls by.
    """

    def __init__(self, *, token: str | None, clock: Callable[[], float]) -> None:
        self.token = token
        self.token_header = "Authorization"
        self.clock_ahead = 0.0
        """Seconds by which the clock that its answers tell is ahead of ours."""
        self.calls: list[Call] = []
        self._clock = clock
        self._faults = FaultPlan()
        self._runners: list[web.AppRunner] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    async def open_ports(self) -> None:
        """Start to listen, with :meth:`serve`."""
        raise NotImplementedError

    def inject(
        self, fault: Fault, *, times: int | None = 1, route: str = "*", after: int = 0
    ) -> None:
        """Let requests of this route go wrong, but for the next ``after`` ones.

        :param times: How many, None for all until :meth:`heal`.
        """
        self._faults.add(fault, times=times, route=route, after=after)

    def heal(self) -> None:
        """Let nothing go wrong any more."""
        self._faults.clear()

    # What a test asks it

    def count(self, route: str = "*") -> int:
        """How many requests were made of this route."""
        return len([call for call in self.calls if route in {"*", call.route}])

    def last_call(self, route: str = "*") -> Call:
        """The last request of this route."""
        return [call for call in self.calls if route in {"*", call.route}][-1]

    # Starting and stopping

    async def __aenter__(self) -> Self:
        await self.open_ports()
        return self

    async def __aexit__(self, *_: object) -> None:
        for runner in self._runners:
            await runner.cleanup()
        self._runners.clear()

    def __enter__(self) -> Self:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self.__aenter__(), self._loop).result(10)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._loop is not None
        assert self._thread is not None
        asyncio.run_coroutine_threadsafe(self.__aexit__(), self._loop).result(10)
        asyncio.run_coroutine_threadsafe(_end_other_tasks(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def serve(self, routes: Sequence[tuple[str, Handler]]) -> str:
        middlewares = [self._note_and_harm, self._ask_for_token]
        app = web.Application(middlewares=middlewares, client_max_size=100 * 1024**2)
        for route, handler in routes:
            method, _, path = route.partition(" ")
            app.router.add_route(method, path, handler)
        app.on_response_prepare.append(self._tell_time)
        # For aiohttp a timeout of 0 is none at all.
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.01)
        self._runners.append(runner)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, backlog=1024)
        await site.start()
        return f"http://127.0.0.1:{runner.addresses[0][1]}"

    async def _tell_time(self, _: web.Request, response: web.StreamResponse) -> None:
        if self.clock_ahead:
            response.headers["Date"] = formatdate(time.time() + self.clock_ahead, usegmt=True)

    # What comes before any answer

    @web.middleware
    async def _note_and_harm(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        route = _route_of(request)
        call = Call(route, request.path, dict(request.query), dict(request.headers), self._clock())
        self.calls.append(call)
        match self._faults.take(route):
            case Answer(status, body, headers):
                return web.Response(status=status, body=body, headers=headers)
            case Hang():
                await asyncio.Event().wait()
            case Reset():
                return reset_connection(request)
            case LoseAnswer():
                await handler(request)
                return reset_connection(request)
            case CutBody(after):
                return await _answer_cut(request, handler, after)
            case Delay(seconds):
                await asyncio.sleep(seconds)
        return await handler(request)

    @web.middleware
    async def _ask_for_token(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if self.token is not None:
            given = request.headers.get(self.token_header)
            if not given:
                return text_answer(401, "Unauthorized: Missing authentication token")
            if given != f"Bearer {self.token}":
                return text_answer(403, "Forbidden: Invalid authentication token")
        return await handler(request)


async def _end_other_tasks() -> None:
    """End what still answers a request: in a closed loop, asyncio would complain in a later test's log."""
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _route_of(request: web.Request) -> str:
    resource = request.match_info.route.resource
    return f"{request.method} {resource.canonical if resource else request.path}"


def text_answer(status: int, text: str) -> web.Response:
    return web.Response(status=status, text=text)


async def write_part(request: web.Request, response: web.StreamResponse, data: bytes) -> None:
    """Send a part of a body, or as much of it as the fault of this request lets through."""
    if not response.prepared:
        response.enable_chunked_encoding()
        await response.prepare(request)
    allowed = _bytes_until_cut.get()
    if allowed is None:
        await response.write(data)
        return
    await response.write(data[:allowed])
    _bytes_until_cut.set(max(0, allowed - len(data)))
    if len(data) >= allowed and request.transport is not None:
        request.transport.close()


async def _answer_cut(request: web.Request, handler: Handler, after: int) -> web.StreamResponse:
    token = _bytes_until_cut.set(after)
    try:
        response = await handler(request)
    finally:
        _bytes_until_cut.reset(token)
    if isinstance(response, web.Response) and not response.prepared:
        whole = response.body if isinstance(response.body, bytes) else b""
        cut = web.StreamResponse(status=response.status, headers=response.headers)
        cut.content_length = len(whole) + 1
        await cut.prepare(request)
        await cut.write(whole[:after])
        response = cut
    if request.transport is not None:
        request.transport.close()
    return response
