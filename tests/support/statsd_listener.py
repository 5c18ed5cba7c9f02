"""A StatsD server that keeps what a provider's code sent, and drops Airflow's own."""

from __future__ import annotations

import socket
import threading
from collections import defaultdict


class StatsdListener:
    """Receives figures on a UDP port. Use it as a context manager.

    :param prefix: Only names that begin so are kept.
    """

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.settimeout(0.2)
        self._thread = threading.Thread(target=self._receive, daemon=True)
        self._is_closed = threading.Event()
        self.port: int = self._socket.getsockname()[1]
        self.figures: dict[str, list[float]] = defaultdict(list)

    def __enter__(self) -> StatsdListener:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_closed.set()
        self._thread.join()
        self._socket.close()

    def _receive(self) -> None:
        while not self._is_closed.is_set():
            try:
                packet = self._socket.recv(65_536)
            except TimeoutError:
                continue
            for line in packet.decode().splitlines():
                name, _, value = line.partition(":")
                if name.startswith(self._prefix):
                    self.figures[name].append(float(value.partition("|")[0]))
