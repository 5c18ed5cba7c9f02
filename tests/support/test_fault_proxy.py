"""The fault proxy does to connections what it says."""

from __future__ import annotations

import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.client import IncompleteRead, RemoteDisconnected

import pytest

from tests.support.fault_proxy import FaultProxy
from tests.support.stub_dashboard import StubDashboard

BODY = b"x" * 300_000


@pytest.fixture
def proxy(stub_dashboard: StubDashboard) -> Iterator[FaultProxy]:
    stub_dashboard.files["big.log"] = BODY
    with FaultProxy(stub_dashboard.agent_url) as proxy:
        yield proxy


def fetch(proxy: FaultProxy, timeout: float = 2.0) -> bytes:
    with urllib.request.urlopen(f"{proxy.url}/logs/big.log", timeout=timeout) as response:
        return bytes(response.read())


def test_a_healthy_network_passes_every_byte(proxy: FaultProxy) -> None:
    """Without a fault, an answer arrives whole and is counted."""
    content = fetch(proxy)

    assert content == BODY
    assert proxy.counters.accepted == 1
    assert proxy.counters.bytes_down > len(BODY)


def test_a_refused_connection_and_its_return(proxy: FaultProxy) -> None:
    """A refusing network comes back on the same port."""
    url = proxy.url

    proxy.set(is_refusing=True)
    with pytest.raises(urllib.error.URLError, match="refused"):
        fetch(proxy)
    proxy.heal()

    assert fetch(proxy) == BODY
    assert proxy.url == url


def test_a_reset_after_so_many_bytes(proxy: FaultProxy) -> None:
    """The client gets at most the bytes that were let through, then a reset."""
    proxy.set(reset_after_down=100_000)

    with pytest.raises((ConnectionResetError, IncompleteRead)):
        fetch(proxy)

    assert proxy.counters.cut == 1


def test_a_reset_of_the_request(proxy: FaultProxy, stub_dashboard: StubDashboard) -> None:
    """A request cut on its way never reaches the server."""
    proxy.set(reset_after_up=10)

    with pytest.raises((ConnectionResetError, RemoteDisconnected)):
        fetch(proxy)

    assert stub_dashboard.count() == 0


def test_a_stall_holds_bytes_back_until_it_ends(proxy: FaultProxy) -> None:
    """A stalled connection stays open and silent, and goes on when the network has healed."""
    proxy.set(is_stalled=True)
    with socket.create_connection(("127.0.0.1", int(proxy.url.rsplit(":", 1)[1]))) as client:
        client.sendall(b"GET /logs/big.log HTTP/1.0\r\n\r\n")
        client.settimeout(0.3)
        with pytest.raises(TimeoutError):
            client.recv(1)

        proxy.heal()

        client.settimeout(5)
        assert client.recv(4) == b"HTTP"


def test_cutting_what_is_live(proxy: FaultProxy) -> None:
    """Cutting resets the open connections and lets new ones through."""
    with socket.create_connection(("127.0.0.1", int(proxy.url.rsplit(":", 1)[1]))) as client:
        client.sendall(b"GET /logs/big.log HTTP/1.1\r\n")
        deadline = time.monotonic() + 5
        while proxy.live_connections == 0 and time.monotonic() < deadline:
            time.sleep(0.01)

        assert proxy.cut() == 1

        client.settimeout(5)
        with pytest.raises(ConnectionResetError):
            client.recv(1)
    assert fetch(proxy) == BODY


def test_a_canned_status(proxy: FaultProxy) -> None:
    """Every request is answered with the status, and headers, that were set."""
    proxy.fail_with_status(429, Retry_After="7")

    with pytest.raises(urllib.error.HTTPError) as caught:
        fetch(proxy)

    with caught.value as answer:
        assert answer.code == 429
        assert answer.headers["Retry-After"] == "7"


def test_a_delay(proxy: FaultProxy) -> None:
    """Chunks are late by the delay."""
    proxy.set(delay=0.1)
    started = time.monotonic()

    assert fetch(proxy, timeout=10) == BODY

    assert time.monotonic() - started >= 0.2
