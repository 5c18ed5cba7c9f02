"""Watches of minutes, which run beside the other tests: their time is not the run's."""

from __future__ import annotations

import random
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.kubernetes.ray_clusters import KubeRayCluster
from tests.support.fault_proxy import FaultProxy

_LINES_PER_SECOND = 4


@dataclass(frozen=True)
class Watched:
    """How a watch ended.

    :param lines: The job's own lines, as they came.
    :param expected: What it printed.
    :param cuts: How many connections were cut meanwhile.
    """

    lines: list[str]
    expected: list[str]
    status: str
    cuts: int


def follow_through_cuts(cluster: KubeRayCluster, *, seconds: int, seed: int = 0) -> Watched:
    """Follow the log of a job that prints for so long, over a network that loses connections."""
    expected = [f"line {number}" for number in range(seconds * _LINES_PER_SECOND)]
    with FaultProxy(cluster.rig.url) as proxy, _cutting(proxy, seed):
        address = cluster.address_behind(proxy.url.replace("http:", "https:"))
        executor = cluster.executor(address=address, unreachable_timeout=120.0)
        job_id = executor.submit_entrypoint(
            counting(len(expected)), job_id=f"long-{uuid.uuid4().hex[:8]}"
        )
        lines = [line for line in executor.stream_logs(job_id) if line.startswith("line ")]
        return Watched(lines, expected, executor.get_status(job_id), proxy.counters.cut)


def counting(lines: int) -> str:
    """Return a command that prints so many lines, at an even pace."""
    pause = 1 / _LINES_PER_SECOND
    return f"for i in $(seq 0 {lines - 1}); do echo line $i; sleep {pause:g}; done"


@contextmanager
def _cutting(proxy: FaultProxy, seed: int) -> Iterator[None]:
    """Cut all connections every some seconds."""
    is_over = threading.Event()
    pauses = random.Random(seed)

    def cut() -> None:
        while not is_over.wait(pauses.uniform(5, 20)):
            proxy.cut()

    thread = threading.Thread(target=cut)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
