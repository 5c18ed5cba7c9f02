"""What ends a task's process decides what becomes of its job."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch
from uuid import uuid4

import pytest
from airflow.sdk.execution_time.timeout import timeout

from airflow_synapse.exceptions import (
    ExecutionError,
    RayAuthenticationError,
    RayJobTimeoutError,
)
from airflow_synapse.handover.events import event_of
from airflow_synapse.operators.base import RayJobOperator
from airflow_synapse.operators.ending import airflow_word
from airflow_synapse.operators.plugin_action import SubmitPluginActionOperator
from airflow_synapse.operators.retry_policy import is_worth_a_retry
from airflow_synapse.rayjobs.job.outcome import Outcome
from airflow_synapse.version_compat import AirflowFailException
from tests.operators.running import a_command, messages, run
from tests.operators.supervisor import DELETED, Supervisor
from tests.operators.task_instance import TaskInstance
from tests.support import stub_dashboard as routes
from tests.support.faults import Delay
from tests.support.stub_dashboard import StubDashboard
from tests.support.stub_jobs import NEVER


@pytest.fixture
def supervisor() -> Iterator[Supervisor]:
    supervisor = Supervisor()
    module = "airflow.sdk.execution_time.task_runner"
    with patch(f"{module}.SUPERVISOR_COMMS", supervisor, create=True):
        yield supervisor
    supervisor.came_back.set()


def once(stub: StubDashboard, is_so: Callable[[], bool], do: Callable[[], object]) -> None:
    """Do something in another thread, once it is so."""

    def wait() -> None:
        deadline = time.monotonic() + 60
        while not is_so() and time.monotonic() < deadline:
            time.sleep(0.01)
        do()

    threading.Thread(target=wait, daemon=True).start()


def to_main_thread(number: signal.Signals) -> None:
    signal.pthread_kill(threading.main_thread().ident or 0, number)


def kill_while_it_waits(operator: RayJobOperator, ti: TaskInstance, stub: StubDashboard) -> str:
    """Kill the task while its job runs, and return the error's text."""
    ti.id = uuid4()
    once(stub, lambda: stub.count(routes.GET_JOB) >= 4, operator.on_kill)
    with pytest.raises(ExecutionError) as caught:
        run(operator, ti)
    assert is_worth_a_retry(caught.value) is not False
    return str(caught.value)


OVER = ["restarting", "failed", "success", "skipped", "removed", DELETED]
NOT_OVER = ["running", "queued", "scheduled", None, "deferred", "up_for_retry"]


@pytest.mark.parametrize("max_tries", [0, 1])
@pytest.mark.parametrize("state", OVER)
def test_task_that_a_user_ended_stops_its_job(
    stub: StubDashboard, supervisor: Supervisor, state: str, max_tries: int
) -> None:
    """What Airflow says is over or gone is a kill, whether a try is left or not."""
    stub.script(runtime=NEVER)
    supervisor.state = state

    said = kill_while_it_waits(
        a_command(retries=max_tries), TaskInstance(max_tries=max_tries), stub
    )

    assert [job.status for job in stub.jobs.values()] == ["STOPPED"]
    assert "was stopped, because the task was killed" in said


@pytest.mark.parametrize("state", NOT_OVER)
def test_process_that_somebody_else_ends_leaves_its_job_to_the_next_try(
    stub: StubDashboard,
    supervisor: Supervisor,
    caplog: pytest.LogCaptureFixture,
    state: str | None,
) -> None:
    """A worker that is drained, or that the scheduler lost, stops no job that a try is left for."""
    stub.script(runtime=NEVER)
    supervisor.state = state
    operator = a_command(retries=1)

    kill_while_it_waits(operator, TaskInstance(max_tries=1), stub)

    assert [job.status for job in stub.jobs.values()] == ["RUNNING"]
    assert any("left to the next try" in text for text in messages(caplog))
    assert operator.retry_policy is None  # no policy is asked about an end like this


@pytest.mark.parametrize(
    ("state", "status"), [("running", "STOPPED"), ("queued", "RUNNING"), ("deferred", "RUNNING")]
)
def test_last_try_leaves_its_job_only_if_airflow_has_begun_another(
    stub: StubDashboard, supervisor: Supervisor, state: str, status: str
) -> None:
    """Nobody would take it over, unless a user has cleared the task."""
    stub.script(runtime=NEVER)
    supervisor.state = state

    kill_while_it_waits(a_command(), TaskInstance(), stub)

    assert [job.status for job in stub.jobs.values()] == [status]


@pytest.mark.parametrize(("max_tries", "status"), [(1, "RUNNING"), (0, "STOPPED")])
def test_airflow_that_does_not_answer(
    stub: StubDashboard,
    supervisor: Supervisor,
    monkeypatch: pytest.MonkeyPatch,
    max_tries: int,
    status: str,
) -> None:
    """Without an answer a kill is none: the next try takes the job over, the last one stops it."""
    monkeypatch.setattr(airflow_word, "_LONGEST_WAIT", 0.05)
    stub.script(runtime=NEVER)
    supervisor.is_away = True

    kill_while_it_waits(a_command(retries=max_tries), TaskInstance(max_tries=max_tries), stub)

    assert [job.status for job in stub.jobs.values()] == [status]


def test_try_without_reattach_stops_its_job(stub: StubDashboard, supervisor: Supervisor) -> None:
    """The next try would not take it over."""
    stub.script(runtime=NEVER)

    kill_while_it_waits(a_command(retries=1, reattach=False), TaskInstance(max_tries=1), stub)

    assert [job.status for job in stub.jobs.values()] == ["STOPPED"]


@pytest.mark.parametrize("state", ["running", "failed"])
def test_job_that_must_not_be_stopped_by_a_kill(
    stub: StubDashboard, supervisor: Supervisor, state: str
) -> None:
    """With ``stop_on_kill=False`` it goes on in any case."""
    stub.script(runtime=NEVER)
    supervisor.state = state

    kill_while_it_waits(a_command(stop_on_kill=False), TaskInstance(), stub)

    assert [job.status for job in stub.jobs.values()] == ["RUNNING"]


def test_superseded_try_touches_nothing(stub: StubDashboard, supervisor: Supervisor) -> None:
    """A suspended machine wakes up: the try that runs now is another one, and so the job is its own."""
    stub.script(runtime=NEVER)
    supervisor.is_superseded = True

    kill_while_it_waits(a_command(), TaskInstance(), stub)

    assert [job.status for job in stub.jobs.values()] == ["RUNNING"]


def test_timeout_of_a_superseded_try_touches_nothing(
    stub: StubDashboard, supervisor: Supervisor
) -> None:
    """Its ``execution_timeout`` says nothing about the try that took the job over."""
    stub.script(runtime=NEVER)
    supervisor.is_superseded = True

    with pytest.raises(RayJobTimeoutError), timeout(0.7):
        run(a_command(retries=1), TaskInstance(max_tries=1, id=uuid4()))

    assert [job.status for job in stub.jobs.values()] == ["RUNNING"]


def test_late_kill_without_airflow(stub: StubDashboard, caplog: pytest.LogCaptureFixture) -> None:
    """Two tries in one process: a kill of the first does not stop the job that the second took over."""
    stub.script(runtime=NEVER)
    first, second = a_command(retries=1), a_command(retries=1, wait_for_completion=False)
    ends: list[BaseException] = []

    def try_first() -> None:
        try:
            run(first, TaskInstance(max_tries=1))
        except ExecutionError as exc:
            ends.append(exc)

    trying = threading.Thread(target=try_first)
    trying.start()
    while stub.count(routes.GET_JOB) < 4:
        time.sleep(0.01)
    run(second, TaskInstance(try_number=2, max_tries=1))

    first.on_kill()
    trying.join(30)

    assert len(ends) == 1
    assert [job.status for job in stub.jobs.values()] == ["RUNNING"]
    assert any("another try of this task decides about it" in text for text in messages(caplog))


def test_kill_during_an_upload_submits_nothing(
    stub: StubDashboard, supervisor: Supervisor, plugin: Path
) -> None:
    """The upload is cancelled, and the task ends without waiting for the cluster."""
    supervisor.state = "failed"
    stub.inject(Delay(60), route=routes.PUT_PACKAGE)
    operator = SubmitPluginActionOperator(
        task_id="task", action_name="run", working_dir=str(plugin)
    )
    once(stub, lambda: stub.count(routes.PUT_PACKAGE) > 0, operator.on_kill)

    with pytest.raises(ExecutionError, match="was never submitted, because the task was killed"):
        run(operator, TaskInstance())

    assert stub.count(routes.SUBMIT) == 0


@pytest.mark.parametrize(("state", "status"), [("failed", "STOPPED"), ("running", "RUNNING")])
def test_kill_during_the_submission_follows_it_up(
    stub: StubDashboard, supervisor: Supervisor, state: str, status: str
) -> None:
    """The request was sent before the kill, so the job gets through, and only then is decided about."""
    stub.script(runtime=NEVER)
    supervisor.state = state
    stub.inject(Delay(0.5), route=routes.SUBMIT)
    operator = a_command(retries=1)
    once(stub, lambda: stub.count(routes.SUBMIT) > 0, operator.on_kill)

    with pytest.raises(ExecutionError, match="the task was killed"):
        run(operator, TaskInstance(max_tries=1))

    assert [job.status for job in stub.jobs.values()] == [status]


def test_timeout_during_the_submission_follows_it_up(stub: StubDashboard) -> None:
    """The job that gets through after the ``execution_timeout`` is stopped."""
    stub.script(runtime=NEVER)
    stub.inject(Delay(1.0), route=routes.SUBMIT)
    once(stub, lambda: stub.count(routes.SUBMIT) > 0, lambda: to_main_thread(signal.SIGALRM))

    with (
        pytest.raises(RayJobTimeoutError, match="within the task's execution_timeout"),
        timeout(60),
    ):
        run(a_command(), TaskInstance())

    assert [job.status for job in stub.jobs.values()] == ["STOPPED"]


def test_ctrl_c_stops_the_job(stub: StubDashboard) -> None:
    """Who runs a DAG in a script and interrupts it leaves no job behind."""
    stub.script(runtime=NEVER)
    operator = a_command()
    once(stub, lambda: stub.count(routes.GET_JOB) >= 4, lambda: to_main_thread(signal.SIGINT))

    with pytest.raises(KeyboardInterrupt):
        run(operator, TaskInstance())

    assert [job.status for job in stub.jobs.values()] == ["STOPPED"]


class _Refusing:
    """A retry policy."""

    def evaluate(self, **_: Any) -> Any:
        return SimpleNamespace(action=SimpleNamespace(value="fail"))


@pytest.mark.parametrize("given", [{"retry_user_errors": False}, {"retry_policy": _Refusing()}])
def test_try_that_does_not_come_takes_over_nothing(
    stub: StubDashboard, caplog: pytest.LogCaptureFixture, given: dict[str, Any]
) -> None:
    """Retries are left, but this error gets none of them, so the job is stopped."""
    stub.add_job("j", runtime=NEVER)
    refused = RayAuthenticationError(cluster=stub.url, http_status=401)
    event = event_of(Outcome.of_failure(refused, job_id="j", cluster=stub.url))
    operator = a_command(retries=2)
    for name, value in given.items():
        setattr(operator, name, value)

    with pytest.raises((AirflowFailException, RayAuthenticationError)):
        operator.execute_complete({"ti": TaskInstance(max_tries=2)}, event)  # type: ignore[typeddict-item]

    assert stub.jobs["j"].status == "STOPPED"
    assert not any("next try" in text for text in messages(caplog))


def left_running(stub: StubDashboard) -> None:
    """Have a first try submit a job, and its worker die."""
    stub.script(runtime=NEVER)
    run(a_command(retries=1, wait_for_completion=False), TaskInstance(max_tries=1))


@pytest.mark.parametrize("state", ["failed", "running"])
def test_kill_before_the_job_of_an_earlier_try_is_found(
    stub: StubDashboard, supervisor: Supervisor, state: str
) -> None:
    """This try answers for it all the same: nobody else will, as this is the last one."""
    left_running(stub)
    supervisor.state = state
    second = a_command(retries=1)
    second.on_kill()

    with pytest.raises(ExecutionError, match="the task was killed"):
        run(second, TaskInstance(try_number=2, max_tries=1))

    assert [job.status for job in stub.jobs.values()] == ["STOPPED"]


def test_timeout_before_the_job_of_an_earlier_try_is_found(stub: StubDashboard) -> None:
    """The limit of the task is one of its job, too."""
    left_running(stub)
    stub.inject(Delay(1.0), route=routes.GET_JOB)

    with pytest.raises(RayJobTimeoutError), timeout(0.3):
        run(a_command(retries=1), TaskInstance(try_number=2, max_tries=1))

    assert [job.status for job in stub.jobs.values()] == ["STOPPED"]
