"""Each process of a real Ray is killed with SIGKILL while a job is watched."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import psutil
import pytest

from airflow_synapse.exceptions import (
    RayJobEntrypointError,
    RayJobInfrastructureError,
    RayJobNotFoundError,
    RayJobTimeoutError,
)
from airflow_synapse.rayjobs import RayJobExecutor
from airflow_synapse.rayjobs.models import JobInfo
from airflow_synapse.rayjobs.watching.job_watcher import WatchOptions
from local_services.ray_head import RayHead

pytestmark = pytest.mark.timeout(180)

COUNT = "i=0; while [ $i -lt 100 ]; do echo line $i; i=$((i+1)); sleep 0.1; done"


@pytest.fixture(scope="module")
def head() -> Iterator[RayHead]:
    """A Ray of our own: what is killed here, other tests would miss."""
    with RayHead(num_cpus=2) as head:
        yield head


@pytest.fixture
def executor(head: RayHead) -> RayJobExecutor:
    return RayJobExecutor(head.dashboard_url, request_timeout=8.0)


def kill(head: RayHead, name: str) -> None:
    """Kill the process of the head, or of one of its jobs, whose command line has ``name``."""
    killed = []
    for process in psutil.Process(head.pid).children(recursive=True):
        with suppress(psutil.Error):
            if name in " ".join(process.cmdline()[:8]).split("(")[0]:
                process.kill()
                killed.append(process.pid)
    assert len(killed) == 1, killed


def watch_while(
    executor: RayJobExecutor, job_id: str, harm: Callable[[], None]
) -> tuple[JobInfo, list[str]]:
    """Watch the job, do harm once its first line is there, and return its end and its log."""
    lines: list[str] = []
    has_begun = threading.Event()

    def emit(more: list[str]) -> None:
        lines.extend(more)
        if any(line.startswith("line ") for line in lines):
            has_begun.set()

    def wait_and_harm() -> None:
        if has_begun.wait(60):
            harm()

    harming = threading.Thread(target=wait_and_harm)
    harming.start()
    options = WatchOptions(poll_interval=0.5, unreachable_timeout=90.0)
    try:
        outcome = executor.watch(
            job_id, options=options, emit=emit, logger=logging.getLogger("watch")
        )
    finally:
        harming.join()
    assert outcome.info is not None
    return outcome.info, lines


def test_killed_driver_is_a_failure_of_the_job(head: RayHead, executor: RayJobExecutor) -> None:
    """The job FAILED with the signal as its exit code, and the hint says what that often means."""
    job_id = executor.submit_entrypoint("echo line 0; exec sleep 1234")

    info, _ = watch_while(executor, job_id, lambda: kill(head, "sleep 1234"))

    assert (info.status, info.driver_exit_code) == ("FAILED", -9)
    with pytest.raises(RayJobEntrypointError, match="killed with SIGKILL"):
        executor.wait(job_id)


def test_killed_supervisor_is_a_failure_of_the_cluster(
    head: RayHead, executor: RayJobExecutor
) -> None:
    """A job that lost its supervisor is no fault of its code: another try may succeed."""
    job_id = executor.submit_entrypoint("echo line 0; exec sleep 1234")

    info, _ = watch_while(executor, job_id, lambda: kill(head, "ray::JobSupervisor"))

    assert info.error_type == "JOB_SUPERVISOR_ACTOR_DIED"
    with pytest.raises(RayJobInfrastructureError, match="job's code is not to blame"):
        executor.wait(job_id)


def test_killed_dashboard_module_is_outlasted(
    head: RayHead, executor: RayJobExecutor, caplog: pytest.LogCaptureFixture
) -> None:
    """While the part of the dashboard that serves jobs comes back, no line gets lost."""
    caplog.set_level(logging.INFO, "watch")
    job_id = executor.submit_entrypoint(COUNT)

    info, lines = watch_while(executor, job_id, lambda: kill(head, "ray-dashboard-JobHead-0"))

    assert info.status == "SUCCEEDED"
    numbered = [line for line in lines if line.startswith("line ")]
    assert numbered == [f"line {number}" for number in range(100)]
    texts = [record.getMessage() for record in caplog.records]
    assert sum("is unreachable" in text for text in texts) <= 1
    assert sum("is reachable again" in text for text in texts) == sum(
        "is unreachable" in text for text in texts
    )


def test_driver_that_ignores_sigterm_is_stopped(executor: RayJobExecutor) -> None:
    """Ray kills it after some seconds; the stop is told only then."""
    job_id = executor.submit_entrypoint("trap '' TERM; echo line 0; while true; do sleep 0.2; done")
    while "line 0" not in executor.get_logs(job_id).splitlines():
        time.sleep(0.2)

    assert executor.stop(job_id) is True
    assert executor.get_status(job_id) == "STOPPED"


def test_job_that_waits_for_resources_can_t_be_stopped(executor: RayJobExecutor) -> None:
    """Ray says "stopped" and leaves it PENDING: the error says so plainly."""
    job_id = executor.submit_entrypoint("echo line 0", entrypoint_num_cpus=1000)

    with pytest.raises(RayJobTimeoutError, match="only once it is scheduled") as caught:
        executor.stop(job_id)

    assert caught.value.status == "PENDING"


def test_restarted_head_has_forgotten_the_job(head: RayHead, executor: RayJobExecutor) -> None:
    """The watch outlasts the restart and says that the job is gone; it can be submitted anew."""
    job_id = executor.submit_entrypoint("echo line 0; sleep 1234")

    with pytest.raises(RayJobNotFoundError, match="head node forgets its jobs"):
        watch_while(executor, job_id, head.restart)

    assert executor.submit_entrypoint("echo again", job_id=job_id) == job_id
    assert executor.wait(job_id, 60) == "SUCCEEDED"
