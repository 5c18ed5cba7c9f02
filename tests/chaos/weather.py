"""Random faults of a network, the same for the same seed."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable

from tests.support.fault_proxy import FaultProxy

GARBAGE = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 15\r\n\r\n<html>Welcome!<"
TRUNCATED = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 5000\r\n"
    b'Connection: close\r\n\r\n{"status": "SUC'
)
STATUSES = (500, 502, 503, 504, 404, 408)

Fault = tuple[str, Callable[[FaultProxy], object]]


def _any_fault(rng: random.Random) -> Fault:
    down, up = rng.randrange(1, 4000), rng.randrange(1, 600)
    status = rng.choice(STATUSES)
    faults: list[Fault] = [
        ("refuse", lambda proxy: (proxy.set(is_refusing=True), proxy.cut())),
        ("stall", lambda proxy: proxy.set(is_stalled=True)),
        ("cut", lambda proxy: proxy.cut()),
        (f"reset after {down} bytes down", lambda proxy: proxy.set(reset_after_down=down)),
        (f"reset after {up} bytes up", lambda proxy: proxy.set(reset_after_up=up)),
        ("delay", lambda proxy: proxy.set(delay=0.1, jitter=0.3)),
        (f"answer {status}", lambda proxy: proxy.fail_with_status(status)),
        ("answer 429", lambda proxy: proxy.fail_with_status(429, Retry_After="1")),
        ("answer garbage", lambda proxy: proxy.set(answer=GARBAGE)),
        ("answer in part", lambda proxy: proxy.set(answer=TRUNCATED)),
    ]
    return rng.choice(faults)


class Weather:
    """Makes a proxy fail at random for some seconds, and heals it at the end.

    :param proxy: What is to fail.
    :param rng: Of which all randomness comes.
    :param seconds: For how long.
    """

    def __init__(self, proxy: FaultProxy, rng: random.Random, seconds: float) -> None:
        self._proxy = proxy
        self._rng = rng
        self._seconds = seconds
        self.report: list[str] = []

    async def rage(self) -> None:
        began = time.monotonic()
        try:
            while time.monotonic() - began < self._seconds:
                await asyncio.sleep(self._rng.uniform(0.1, 1.2))
                name, begin = _any_fault(self._rng)
                duration = self._rng.uniform(0.2, 2.5)
                self.report.append(f"{time.monotonic() - began:.1f} s: {name} for {duration:.1f} s")
                await asyncio.to_thread(begin, self._proxy)
                await asyncio.sleep(duration)
                await asyncio.to_thread(self._proxy.heal)
        finally:
            self._proxy.heal()
