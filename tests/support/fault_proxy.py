"""A TCP proxy that stands for the network between us and a real cluster, and fails when told to."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar
from urllib.parse import urlsplit
from weakref import WeakSet

_CHUNK = 64 * 1024

T = TypeVar("T")


@dataclass(frozen=True)
class Network:
    """How the network is. The default lets everything through.

    :param is_refusing: New connections are refused: nobody listens.
    :param is_stalled: Bytes are taken in and never passed on; connections stay open.
    :param delay: Seconds that every chunk is late.
    :param jitter: Up to so many seconds more, at random.
    :param reset_after_down: Reset a connection after so many bytes to the client.
    :param reset_after_up: Reset a connection after so many bytes to the server.
    :param answer: Send this to every request instead of asking the server, and close.
    """

    is_refusing: bool = False
    is_stalled: bool = False
    delay: float = 0.0
    jitter: float = 0.0
    reset_after_down: int | None = None
    reset_after_up: int | None = None
    answer: bytes | None = None


@dataclass
class Counters:
    """What has gone through the proxy."""

    accepted: int = 0
    cut: int = 0
    bytes_up: int = 0
    bytes_down: int = 0


@dataclass(eq=False)
class _Link:
    client: asyncio.StreamWriter
    server: asyncio.StreamWriter | None = None
    up: int = 0
    down: int = 0
    tasks: list[asyncio.Task[None]] = field(default_factory=list)


class FaultProxy:
    """Listens on a port of its own and passes everything to ``target``. Use it with ``with``.

    Its network can be changed at any time and from any thread; live connections notice at once.

    :param target: The URL of the server behind it.
    :param seed: Of the jitter.
    """

    def __init__(self, target: str, *, seed: int = 0) -> None:
        parts = urlsplit(target)
        self._target = (parts.hostname or "127.0.0.1", parts.port or 80)
        self._random = random.Random(seed)
        self._network = Network()
        self._changed = asyncio.Event()
        self._links: set[_Link] = set()
        self._ends: WeakSet[asyncio.StreamWriter] = WeakSet()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._server: asyncio.Server | None = None
        self._port = 0
        self.counters = Counters()

    @property
    def url(self) -> str:
        """Where clients connect to, e.g. ``http://127.0.0.1:41234``."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def network(self) -> Network:
        """How the network is, now."""
        return self._network

    @property
    def live_connections(self) -> int:
        """How many connections are open."""
        return len(self._links)

    # What a test tells it

    def set(self, **changes: Any) -> None:
        """Change fields of :class:`Network`; the others stay."""
        self._run(self._apply(replace(self._network, **changes)))

    def heal(self) -> None:
        """Let everything through again. Bytes that were held back by a stall go on their way."""
        self._run(self._apply(Network()))

    def cut(self) -> int:
        """Reset all live connections and return how many there were."""
        return self._run(self._cut())

    def fail_with_status(self, status: int, **headers: str) -> None:
        """Answer every request with this HTTP status; a header ``Retry_After`` is sent with ``-``."""
        lines = [f"HTTP/1.1 {status} Injected", "Content-Length: 8", "Connection: close"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        self.set(answer="\r\n".join([*lines, "", "injected"]).encode())

    # Starting and stopping

    def __enter__(self) -> FaultProxy:
        self._thread.start()
        self._run(self._listen())
        return self

    def __exit__(self, *_: object) -> None:
        self._run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(
            self._serve, "127.0.0.1", self._port, reuse_address=True, backlog=1024
        )
        self._port = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        await self._stop_listening()
        await self._cut()
        others = asyncio.all_tasks() - {_current_task()}
        await asyncio.gather(*others, return_exceptions=True)
        for end in self._ends:
            end.transport.abort()  # close() alone waits for what a peer does not read
        for _ in range(2):  # in which the transports close their sockets
            await asyncio.sleep(0)

    async def _stop_listening(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _apply(self, network: Network) -> None:
        self._network = network
        self._changed.set()
        self._changed = asyncio.Event()
        if network.is_refusing:
            await self._stop_listening()
        elif self._server is None:
            await self._listen()

    async def _cut(self) -> int:
        links = list(self._links)
        for link in links:
            self._reset(link)
        await asyncio.gather(*(t for link in links for t in link.tasks), return_exceptions=True)
        return len(links)

    # One connection

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.counters.accepted += 1
        link = _Link(writer)
        self._links.add(link)
        self._ends.add(writer)
        link.tasks.append(_current_task())
        try:
            if self._network.answer is not None:
                await self._answer(link, reader)
            else:
                await self._pass_on(link, reader)
        except (OSError, asyncio.IncompleteReadError):
            pass
        except asyncio.CancelledError:
            if link in self._links:  # else it was cut on purpose
                raise
        finally:
            self._links.discard(link)
            for end in (link.client, link.server):
                if end is not None:
                    end.close()

    async def _answer(self, link: _Link, reader: asyncio.StreamReader) -> None:
        await reader.readuntil(b"\r\n\r\n")
        link.client.write(self._network.answer or b"")
        await link.client.drain()

    async def _pass_on(self, link: _Link, reader: asyncio.StreamReader) -> None:
        back, link.server = await asyncio.open_connection(*self._target)
        self._ends.add(link.server)
        up = asyncio.create_task(self._pump(link, reader, link.server, self._note_up))
        down = asyncio.create_task(self._pump(link, back, link.client, self._note_down))
        link.tasks += [up, down]
        try:
            await asyncio.gather(up, down)
        finally:
            up.cancel()
            down.cancel()

    async def _pump(
        self,
        link: _Link,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        note: Callable[[_Link, bytes], bytes | None],
    ) -> None:
        while data := await reader.read(_CHUNK):
            await self._hold_back()
            passed = note(link, data)
            writer.write(data if passed is None else passed)
            with contextlib.suppress(ConnectionError):
                await writer.drain()
            if passed is not None:
                self._reset(link)
                return
        await self._hold_back()
        if writer.can_write_eof():
            writer.write_eof()

    async def _hold_back(self) -> None:
        network = self._network
        if network.delay or network.jitter:
            await asyncio.sleep(network.delay + self._random.uniform(0, network.jitter))
        while self._network.is_stalled:
            await self._changed.wait()

    def _note_up(self, link: _Link, data: bytes) -> bytes | None:
        self.counters.bytes_up += len(data)
        link.up += len(data)
        return _cut_at(data, link.up, self._network.reset_after_up)

    def _note_down(self, link: _Link, data: bytes) -> bytes | None:
        self.counters.bytes_down += len(data)
        link.down += len(data)
        return _cut_at(data, link.down, self._network.reset_after_down)

    def _reset(self, link: _Link) -> None:
        self.counters.cut += 1
        self._links.discard(link)
        for end in (link.client, link.server):
            if end is not None:
                _reset_socket(end)
        for task in link.tasks:
            if task is not asyncio.current_task():
                task.cancel()


def _cut_at(data: bytes, total: int, limit: int | None) -> bytes | None:
    """Return what of ``data`` may still pass if the connection is to end here, else None."""
    if limit is None or total < limit:
        return None
    return data[: max(0, len(data) - (total - limit))]


def _reset_socket(writer: asyncio.StreamWriter) -> None:
    peer: socket.socket | None = writer.get_extra_info("socket")
    if peer is not None and not writer.transport.is_closing():
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def _current_task() -> asyncio.Task[None]:
    task = asyncio.current_task()
    assert task is not None
    return task
