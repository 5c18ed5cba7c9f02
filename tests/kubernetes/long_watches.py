"""Watches of minutes, which run beside the other tests: their time is not the run's."""

from __future__ import annotations

import random
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from local_services.kubernetes.rig import KubernetesRig
from tests.kubernetes.ray_clusters import USER, KubeRayCluster
from tests.support.fault_proxy import FaultProxy

_LINES_PER_SECOND = 4


@dataclass(frozen=True)
class Watched:
    """How a watch ended.

    :param lines: The job's own lines, as they came.
    :param expected: What it printed.
    :param cuts: How many connections were cut meanwhile.
    :param tokens: How many tokens were given out meanwhile.
    """

    lines: list[str]
    expected: list[str]
    status: str
    cuts: int = 0
    tokens: int = 0


def follow_through_cuts(cluster: KubeRayCluster, *, seconds: int, seed: int = 0) -> Watched:
    """Follow the log of a job that prints for so long, over a network that loses connections."""
    expected = [f"line {number}" for number in range(seconds * _LINES_PER_SECOND)]
    seeded = random.Random(seed)
    with (
        FaultProxy(cluster.rig.url) as proxy,
        repeating(proxy.cut, pauses=lambda: seeded.uniform(5, 20)),
    ):
        address = cluster.address_behind(proxy.url.replace("http:", "https:"))
        executor = cluster.executor(address=address, unreachable_timeout=120.0)
        job_id = executor.submit_entrypoint(
            counting(len(expected)), job_id=f"long-{uuid.uuid4().hex[:8]}"
        )
        lines = [line for line in executor.stream_logs(job_id) if line.startswith("line ")]
        return Watched(lines, expected, executor.get_status(job_id), cuts=proxy.counters.cut)


def follow_with_short_tokens(
    cluster: KubeRayCluster, *, seconds: int, life: float, file: Path | None
) -> Watched:
    """Follow the log of a job with tokens that end soon.

    :param life: Seconds that each token is good for.
    :param file: Where the newest is written, as Kubernetes does with a projected token. Else it is asked
        for by a call.
    """
    expected = [f"line {number}" for number in range(seconds * _LINES_PER_SECOND)]
    tokens = _Tokens(cluster.rig, life)
    with tokens.written_to(file) if file else nullcontext():
        credentials = {"token": None, "token_file": file} if file else {"token": tokens.renew}
        executor = cluster.executor(**credentials, unreachable_timeout=120.0)
        job_id = executor.submit_entrypoint(
            counting(len(expected)), job_id=f"short-{uuid.uuid4().hex[:8]}"
        )
        lines = [line for line in executor.stream_logs(job_id) if line.startswith("line ")]
        return Watched(lines, expected, executor.get_status(job_id), tokens=tokens.count)


class _Tokens:
    """Gives out tokens of somebody who may do no more than our code needs."""

    def __init__(self, rig: KubernetesRig, life: float) -> None:
        self._rig = rig
        self._life = life
        self.count = 0

    def renew(self) -> str:
        self.count += 1
        return self._rig.account_token(USER, life=self._life)

    @contextmanager
    def written_to(self, file: Path) -> Iterator[None]:
        """Renew a file when four fifths of a token's life are over, as a kubelet does."""
        file.write_text(self.renew())
        with repeating(self._write, file, pauses=lambda: self._life * 0.8):
            yield

    def _write(self, file: Path) -> None:
        fresh = file.with_suffix(".new")
        fresh.write_text(self.renew())
        fresh.rename(file)


def counting(lines: int) -> str:
    """Return a command that prints so many lines, at an even pace."""
    pause = 1 / _LINES_PER_SECOND
    return f"for i in $(seq 0 {lines - 1}); do echo line $i; sleep {pause:g}; done"


@contextmanager
def repeating(
    do: Callable[..., object], *arguments: object, pauses: Callable[[], float]
) -> Iterator[None]:
    """Do something again and again on another thread, with a pause before each time."""
    is_over = threading.Event()

    def repeat() -> None:
        while not is_over.wait(pauses()):
            do(*arguments)

    thread = threading.Thread(target=repeat)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
