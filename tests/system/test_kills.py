"""Jobs and logs outlive whatever dies: triggerer, worker, network. On a real Airflow and Ray."""

from __future__ import annotations

import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

import httpx
import psutil
import pytest

from airflow_synapse.rayjobs import RayJobExecutor
from local_services.airflow_deployment import AirflowDeployment
from tests.support.fault_proxy import FaultProxy

pytestmark = pytest.mark.timeout(420)

TASK = "count"
LINES_PER_SECOND = 50

T = TypeVar("T")


class Counting:
    """A run of a task whose job counts lines until it is told to end."""

    def __init__(
        self, airflow: AirflowDeployment, executor: RayJobExecutor, place: str, until: Path
    ) -> None:
        self.airflow = airflow
        self.executor = executor
        self.dag_id = f"counts_in_{place}"
        self._until = until
        airflow.wait_for_dag(self.dag_id)
        airflow.api.unpause(self.dag_id)
        self.run_id = airflow.api.trigger(self.dag_id, {"until": str(until)})

    @property
    def jobs(self) -> dict[str, str]:
        """The jobs of this run by id, each with its status."""
        return {
            job.job_id: job.status
            for job in self.executor.list_jobs()
            if job.metadata.get("airflow_run_id") == self.run_id
        }

    @property
    def state(self) -> str:
        return str(self.airflow.api.task_instance(self.dag_id, self.run_id, TASK)["state"])

    def log(self, try_number: int = 1) -> list[str]:
        """The task's log; of a try that has not begun there is none."""
        row = self.airflow.api.task_instance(self.dag_id, self.run_id, TASK)
        if row["try_number"] < try_number or row["start_date"] is None:
            return []
        try:
            return self.airflow.api.task_log(self.dag_id, self.run_id, TASK, try_number)
        except httpx.HTTPStatusError as exc:
            if exc.response.status_code != httpx.codes.NOT_FOUND:
                raise
            return []  # Airflow moves a try to its history between the two questions

    def numbers(self, try_number: int = 1) -> list[int]:
        """The numbers of the job's lines, as the task's log has them."""
        found = (re.fullmatch(r"line (\d+)", line) for line in self.log(try_number))
        return [int(match[1]) for match in found if match]

    def wait_for_lines(self, more: int, try_number: int = 1) -> None:
        before = len(self.numbers(try_number))
        eventually(lambda: len(self.numbers(try_number)) >= before + more)

    def let_job_end(self) -> None:
        self._until.touch()

    def end(self) -> int:
        """Let the job end and return how many lines it has printed, once the run is over."""
        self.let_job_end()
        state = self.airflow.api.wait_run(self.dag_id, self.run_id, timeout=180)
        assert state == "success", self.log()[-30:]
        (job_id,) = (job_id for job_id, status in self.jobs.items() if status == "SUCCEEDED")
        last_lines = "\n".join(self.executor.get_last_lines(job_id))
        return int(re.findall(r"^(\d+) lines$", last_lines, re.MULTILINE)[0])


def eventually(question: Callable[[], T], *, seconds: float = 90.0) -> T:
    """Return the first answer that counts as true."""
    deadline = time.monotonic() + seconds
    while not (answer := question()):
        assert time.monotonic() < deadline, f"not within {seconds:g} s"
        time.sleep(0.3)
    return answer


@pytest.fixture
def start(
    airflow: AirflowDeployment, executor: RayJobExecutor, proxy: FaultProxy, tmp_path: Path
) -> Iterator[Callable[[str], Counting]]:
    """Starts a run; at the end its job is told to end, too."""
    until = tmp_path / "until"
    yield lambda place: Counting(airflow, executor, place, until)
    until.touch()
    proxy.heal()
    if not airflow.triggerer.is_running:
        airflow.triggerer.start()


def test_restarted_triggerer_loses_and_repeats_nothing(
    airflow: AirflowDeployment, start: Callable[[str], Counting]
) -> None:
    """After a clean restart the log goes on with the very next line, and the job never noticed."""
    counting = start("triggerer")
    eventually(lambda: len(counting.numbers()) > 100)

    airflow.triggerer.stop(grace=30)
    airflow.triggerer.start()
    counting.wait_for_lines(100)

    total = counting.end()
    assert counting.numbers() == list(range(total))
    assert sum("continues at byte" in line for line in counting.log()) == 1
    assert list(counting.jobs.values()) == ["SUCCEEDED"]


def test_killed_triggerer_loses_nothing(
    airflow: AirflowDeployment, start: Callable[[str], Counting]
) -> None:
    """After kill -9 a few lines come again, those since the last checkpoint; the log says where."""
    counting = start("triggerer")
    eventually(lambda: len(counting.numbers()) > 50)
    counting.wait_for_lines(150)

    airflow.triggerer.kill()
    airflow.triggerer.start()
    counting.wait_for_lines(100)

    total = counting.end()
    numbers = counting.numbers()
    assert sorted(set(numbers)) == list(range(total))
    assert len(numbers) - total < 3 * LINES_PER_SECOND
    steps_back = [b for a, b in pairwise(numbers) if b <= a]
    assert len(steps_back) <= 1
    assert any("continues at byte" in line for line in counting.log())
    assert list(counting.jobs.values()) == ["SUCCEEDED"]


@contextmanager
def slowed_down(pid: int) -> Iterator[None]:
    """Let a process work for ten milliseconds each 1.2 seconds, as if the machine or a database were slow."""
    is_over = threading.Event()

    def hold_back() -> None:
        while not is_over.is_set():
            os.kill(pid, signal.SIGSTOP)
            is_over.wait(1.2)
            os.kill(pid, signal.SIGCONT)
            time.sleep(0.01)

    thread = threading.Thread(target=hold_back)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def test_slow_supervisor_loses_no_line_of_a_job_that_ends(
    airflow: AirflowDeployment, start: Callable[[str], Counting]
) -> None:
    """Lines that Airflow has not yet taken in when the job ends come into the task's log all the same."""
    counting = start("triggerer")
    eventually(lambda: len(counting.numbers()) > 50)

    with slowed_down(airflow.triggerer.pid):
        time.sleep(3)
        total = counting.end()

    assert counting.numbers() == list(range(total))


def test_killed_worker_s_job_is_taken_over(
    airflow: AirflowDeployment, start: Callable[[str], Counting]
) -> None:
    """The next try takes over the job of a worker that was killed, and shows its log from the start."""
    counting = start("worker")
    eventually(lambda: len(counting.numbers()) > 50)
    pid = airflow.api.task_instance(counting.dag_id, counting.run_id, TASK)["pid"]

    os.kill(pid, signal.SIGKILL)
    eventually(lambda: len(counting.numbers(2)) > 50)

    total = counting.end()
    assert counting.numbers(2) == list(range(total))
    assert any("Took over Ray job" in line for line in counting.log(2))
    assert list(counting.jobs.values()) == ["SUCCEEDED"]


@pytest.mark.parametrize("who", ["task", "supervisor"])
def test_worker_that_is_told_to_end_leaves_its_job_to_the_next_try(
    airflow: AirflowDeployment, start: Callable[[str], Counting], who: str
) -> None:
    """Nobody ended the task, so a worker that is drained does not stop its job."""
    counting = start("worker")
    eventually(lambda: len(counting.numbers()) > 50)
    pid = airflow.api.task_instance(counting.dag_id, counting.run_id, TASK)["pid"]

    os.kill(pid if who == "task" else psutil.Process(pid).ppid(), signal.SIGTERM)
    eventually(lambda: len(counting.numbers(2)) > 50)

    total = counting.end()
    assert counting.numbers(2) == list(range(total))
    assert any("is left to the next try" in line for line in counting.log())
    assert list(counting.jobs.values()) == ["SUCCEEDED"]


@pytest.mark.parametrize("how", ["failed", "cleared"])
def test_user_who_ends_a_running_task_stops_its_job(
    airflow: AirflowDeployment, start: Callable[[str], Counting], how: str
) -> None:
    """Airflow tells the worker, which has five seconds to stop the job."""
    counting = start("worker")
    eventually(lambda: len(counting.numbers()) > 50)
    (first,) = counting.jobs

    if how == "cleared":
        airflow.api.clear(counting.dag_id, counting.run_id, TASK)
    else:
        airflow.api.mark(counting.dag_id, counting.run_id, TASK, how)

    eventually(lambda: counting.jobs[first] == "STOPPED", seconds=30)
    if how == "cleared":
        counting.end()
        assert sorted(counting.jobs.values()) == ["STOPPED", "SUCCEEDED"]


def test_lost_answer_to_the_submission(
    airflow: AirflowDeployment, proxy: FaultProxy, start: Callable[[str], Counting]
) -> None:
    """If the answers of the cluster get lost, and the worker with them, there is still one job."""
    airflow.wait_for_dag("counts_in_triggerer")
    proxy.set(reset_after_down=1)
    counting = start("triggerer")
    eventually(lambda: proxy.counters.cut >= 2 and counting.state == "running")
    proxy.heal()
    eventually(lambda: counting.jobs)
    pid = airflow.api.task_instance(counting.dag_id, counting.run_id, TASK)["pid"]
    if counting.state == "running" and psutil.pid_exists(pid):
        os.kill(pid, signal.SIGKILL)

    total = counting.end()
    last_try = airflow.api.task_instance(counting.dag_id, counting.run_id, TASK)["try_number"]
    assert counting.numbers(last_try) == list(range(total))
    assert list(counting.jobs.values()) == ["SUCCEEDED"]


@pytest.mark.parametrize("place", ["triggerer", "worker"])
def test_outage_is_told_once(
    proxy: FaultProxy, start: Callable[[str], Counting], place: str
) -> None:
    """While the dashboard is away the task waits: one warning, one line at the end, no line lost."""
    counting = start(place)
    eventually(lambda: len(counting.numbers()) > 50)

    proxy.set(is_refusing=True)
    proxy.cut()
    time.sleep(5)
    proxy.heal()
    counting.wait_for_lines(100)

    total = counting.end()
    log = counting.log()
    assert counting.numbers() == list(range(total))
    assert sum("is unreachable" in line for line in log) == 1
    assert sum("is reachable again after" in line for line in log) == 1


def test_job_that_a_clear_could_not_stop(
    airflow: AirflowDeployment, start: Callable[[str], Counting]
) -> None:
    """A task that is cleared while no triggerer lives leaves a job, which its next try stops."""
    counting = start("triggerer")
    airflow.api.wait_task(counting.dag_id, counting.run_id, TASK, ["deferred"])
    (first,) = counting.jobs

    airflow.triggerer.kill()
    airflow.api.clear(counting.dag_id, counting.run_id, TASK)
    eventually(lambda: len(counting.jobs) == 2)
    airflow.triggerer.start()

    eventually(lambda: counting.jobs[first] == "STOPPED")
    counting.end()
    assert sorted(counting.jobs.values()) == ["STOPPED", "SUCCEEDED"]
    assert any("from before the task was cleared" in line for line in counting.log(2))
