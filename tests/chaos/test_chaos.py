"""Whatever the network does, and whoever dies while watching: one job, each line once, in order."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Sequence
from contextlib import ExitStack, suppress

import pytest

from airflow_synapse.exceptions import RayClusterUnreachableError
from airflow_synapse.rayjobs import RayJobExecutor
from airflow_synapse.rayjobs.client.jobs_api import jobs_api
from airflow_synapse.rayjobs.job.stopping import stop_and_tell
from airflow_synapse.rayjobs.models import JobInfo, RayCluster
from airflow_synapse.rayjobs.watching.cluster_watch import shared_watch
from airflow_synapse.rayjobs.watching.job_watcher import JobWatcher, WatchOptions
from local_services.ray_head import RayHead
from tests.chaos.weather import Weather
from tests.support.agent_rewriter import AgentRewriter
from tests.support.fault_proxy import FaultProxy

pytestmark = pytest.mark.timeout(300)

NOBODY = "http://127.0.0.1:1"
SECONDS_OF_CHAOS = 12.0
LOGGER = logging.getLogger("chaos")

SCRIPTS = (
    "i=0; while [ $i -lt 400 ]; do echo line $i; i=$((i+1)); sleep 0.02; done",
    "seq -f 'line %.0f' 0 4999; sleep 4; seq -f 'line %.0f' 5000 9999",
    r"""i=0; while [ $i -lt 60 ]; do
        printf 'line %d\nodd \377\000 \303' $i; sleep 0.1; printf '\244\n'; i=$((i+1))
    done; exit 3""",
    r"i=0; while [ $i -lt 20 ]; do echo line $i; i=$((i+1)); sleep 0.3; done; printf 'no newline'",
)
ENDLESS = "i=0; while true; do echo line $i; i=$((i+1)); sleep 0.05; done"


class Network:
    """A real Ray as it looks over a network that fails: its dashboard and its agent.

    :param has_agent: Whether the agent can be reached at all; otherwise logs come over the dashboard.
    """

    def __init__(self, head: RayHead, stack: ExitStack, *, has_agent: bool) -> None:
        self.proxies = [stack.enter_context(FaultProxy(head.agent_url))] if has_agent else []
        agent_url = self.proxies[0].url if has_agent else NOBODY
        rewriter = stack.enter_context(AgentRewriter(head.dashboard_url, agent_url))
        self.proxies.append(stack.enter_context(FaultProxy(rewriter.url)))
        self.cluster = RayCluster(self.proxies[-1].url, request_timeout=2.0)


class Task:
    """What an Airflow task does with one job, with workers and triggerers that die on the way."""

    def __init__(self, cluster: RayCluster, job_id: str, entrypoint: str, seed: str) -> None:
        self.job_id = job_id
        self._cluster = cluster
        self._entrypoint = entrypoint
        self._random = random.Random(seed)
        self._watcher: JobWatcher | None = None
        self.lines: list[str] = []
        self._position = 0
        self._checkpoint = (0, 0)
        self.report: list[str] = []

    async def run(self) -> JobInfo:
        await self._submit()
        while True:
            watching = asyncio.create_task(self._watch())
            keeping = asyncio.create_task(self._keep_checkpoints())
            lifetime = self._random.uniform(0.3, 5.0)
            await asyncio.wait({watching}, timeout=lifetime)
            keeping.cancel()
            if watching.done():
                return watching.result()
            watching.cancel()
            with suppress(asyncio.CancelledError):
                await watching
            self._die(is_clean=self._random.random() < 0.5)

    async def stop_after(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        async with jobs_api(self._cluster) as api:
            while not await stop_and_tell(api, self.job_id, logger=LOGGER, notice_after=9.0):
                self.report.append("a stop was not confirmed")

    async def _submit(self) -> None:
        executor = RayJobExecutor(
            self._cluster.address, request_timeout=self._cluster.request_timeout
        )
        while True:
            try:
                await asyncio.to_thread(
                    executor.submit_entrypoint, self._entrypoint, job_id=self.job_id
                )
            except RayClusterUnreachableError as exc:
                self.report.append(f"submission: {exc.reason}")
            else:
                return

    async def _watch(self) -> JobInfo:
        options = WatchOptions(
            poll_interval=0.5, log_position=self._position, unreachable_timeout=120.0
        )
        async with shared_watch(self._cluster) as watch:
            self._watcher = JobWatcher(
                watch, self.job_id, options=options, emit=self._emit, logger=LOGGER
            )
            return await self._watcher.watch()

    def _emit(self, lines: Sequence[str]) -> None:
        assert self._watcher is not None
        self.lines += lines
        self._position = self._watcher.log_position

    async def _keep_checkpoints(self) -> None:
        while True:
            self._checkpoint = (self._position, len(self.lines))
            await asyncio.sleep(0.3)

    def _die(self, *, is_clean: bool) -> None:
        if not is_clean:
            self._position = self._checkpoint[0]
            del self.lines[self._checkpoint[1] :]
        self.report.append(f"{'restarted' if is_clean else 'killed'} at byte {self._position}")


@pytest.mark.parametrize("has_agent", [True, False], ids=["agent", "dashboard"])
async def test_one_job_and_each_line_once(ray_head: RayHead, seed: int, has_agent: bool) -> None:
    """Each task has one job, shows each of its lines once and in order, and leaves none running."""
    rng = random.Random(f"{seed} {has_agent}")
    prefix = f"chaos-{seed}-{has_agent}-{rng.randrange(2**32):x}"
    entrypoints = [*rng.sample(SCRIPTS, k=3), ENDLESS]
    with ExitStack() as stack:
        network = Network(ray_head, stack, has_agent=has_agent)
        weathers = [
            Weather(proxy, random.Random(f"{seed} {has_agent} {n}"), SECONDS_OF_CHAOS)
            for n, proxy in enumerate(network.proxies)
        ]
        tasks = [
            Task(network.cluster, f"{prefix}-{n}", entrypoint, f"{seed} {n}")
            for n, entrypoint in enumerate(entrypoints)
        ]
        raging = [asyncio.create_task(weather.rage()) for weather in weathers]
        stopping = asyncio.create_task(tasks[-1].stop_after(rng.uniform(6.0, 14.0)))
        ends = await asyncio.gather(*(task.run() for task in tasks))
        await asyncio.gather(stopping, *raging)

    story = [f"seed {seed}", *(weather.report for weather in weathers), *(t.report for t in tasks)]
    direct = RayJobExecutor(ray_head.dashboard_url)
    infos = [job for job in await asyncio.to_thread(direct.list_jobs) if prefix in job.job_id]
    print(*story, sep="\n")
    assert sorted(job.job_id for job in infos) == [task.job_id for task in tasks], story
    for task, end in zip(tasks, ends, strict=True):
        info = await asyncio.to_thread(direct.get_info, task.job_id)
        assert (info.status, end.status) == (_expected_end(task), info.status), (story, info)
        log = await asyncio.to_thread(direct.get_logs, task.job_id)
        assert task.lines == log.removesuffix("\n").split("\n"), story


def _expected_end(task: Task) -> str:
    if task._entrypoint == ENDLESS:
        return "STOPPED"
    return "FAILED" if "exit 3" in task._entrypoint else "SUCCEEDED"
