"""A task submits one job, waits for it where it was told to, and ends as its job does."""

from __future__ import annotations

import json
import logging
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG
from airflow.sdk.exceptions import TaskDeferred

from airflow_synapse.exceptions import (
    ActionNotFoundError,
    AirflowSynapseError,
    ExecutionError,
    JobIdConflictError,
    RayJobEntrypointError,
    RayJobStoppedError,
    RayJobSubmissionError,
    RayJobTimeoutError,
)
from airflow_synapse.operators.base import RayJobOperator
from airflow_synapse.operators.plugin_action import SubmitPluginActionOperator
from airflow_synapse.operators.ray_job import SubmitRayJobOperator
from airflow_synapse.rayjobs import RayJobExecutor
from airflow_synapse.rayjobs.results import result_file
from airflow_synapse.triggers.ray_job import RayJobTrigger
from airflow_synapse.version_compat import (
    AirflowFailException,
    TaskDeferralError,
    TaskDeferralTimeout,
)
from tests.operators.task_instance import TaskInstance
from tests.support import stub_dashboard as routes
from tests.support.stub_dashboard import StubDashboard
from tests.support.stub_jobs import NEVER


@pytest.fixture(autouse=True)
def log(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """The task's log is one that a test can read; Airflow's own goes to standard output."""
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(RayJobOperator, "log", logging.getLogger("the task's log"))


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    (tmp_path / "config.yaml").write_text("name: p\nactions: {run: {entrypoint: 'actions:run'}}\n")
    return tmp_path


def a_command(**given: Any) -> SubmitRayJobOperator:
    given = {"task_id": "task", "entrypoint": "true", "poll_interval": 0.05, **given}
    return SubmitRayJobOperator(**given)


def run(operator: RayJobOperator, ti: TaskInstance) -> Any:
    return operator.execute({"ti": ti})  # type: ignore[typeddict-item]


def deferred(operator: RayJobOperator, ti: TaskInstance) -> TaskDeferred:
    """Run the operator until it defers."""
    with pytest.raises(TaskDeferred) as caught:
        run(operator, ti)
    return caught.value


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


def test_command_runs_as_one_job(
    stub: StubDashboard, ti: TaskInstance, caplog: pytest.LogCaptureFixture
) -> None:
    """The job's log is the task's, its place in Airflow is in its metadata, and links work."""
    stub.script(log=((0.0, b"    100 %s\n"),), runtime=0.1)

    assert run(a_command(entrypoint="echo hi", metadata={"who": "me"}), ti) is None

    (job_id, job) = next(iter(stub.jobs.items()))
    assert job_id.startswith("dag.task.1.")
    assert ti.xcoms == {"job_id": job_id, "dashboard_url": f"{stub.url}/#/jobs/{job_id}"}
    assert job.request["entrypoint"] == "echo hi"
    assert job.request["metadata"]["airflow_run_id"] == "run"
    assert job.request["metadata"]["who"] == "me"
    assert "    100 %s" in messages(caplog)


def test_result_of_an_action_is_returned(
    stub: StubDashboard, ti: TaskInstance, plugin: Path
) -> None:
    """What the action returned is what the task returns."""
    operator = SubmitPluginActionOperator(
        task_id="task", action_name="run", working_dir=plugin, job_id="j", poll_interval=0.05
    )
    stub.files[result_file("j")] = b'{"result": {"accuracy": 0.9}}'

    assert run(operator, ti) == {"accuracy": 0.9}


@pytest.mark.parametrize("result", [None, 0, "text"])
def test_result_in_the_event_is_not_read_again(ti: TaskInstance, result: Any) -> None:
    """A small result came with the event, None too."""
    operator = SubmitPluginActionOperator(task_id="task", action_name="run")
    event = {"status": "SUCCEEDED", "job_id": "j", "result": result}

    assert operator.execute_complete({"ti": ti}, event) == result  # type: ignore[typeddict-item]


def test_task_may_end_without_waiting(stub: StubDashboard, ti: TaskInstance) -> None:
    """Without waiting, the task returns the job's id as soon as it is submitted."""
    stub.script(runtime=NEVER)

    job_id = run(a_command(wait_for_completion=False), ti)

    assert list(stub.jobs) == [job_id] == [ti.xcoms["job_id"]]


def test_failed_job_fails_the_task(stub: StubDashboard, ti: TaskInstance) -> None:
    """A FAILED job is an error that retries and retry policies see as what it is."""
    stub.script(status="FAILED", exit_code=3, log=((0.0, b"boom\n"),))

    with pytest.raises(RayJobEntrypointError, match="exit code 3") as caught:
        run(a_command(), ti)

    assert caught.value.last_lines[-1] == "boom"


def test_stopped_job_fails_the_task_for_good(stub: StubDashboard, ti: TaskInstance) -> None:
    """STOPPED was somebody's decision: no retry starts the job anew."""
    stub.script(status="STOPPED")

    with pytest.raises(AirflowFailException, match="was STOPPED by somebody"):
        run(a_command(), ti)


def test_deferred_task_leaves_all_to_its_trigger(stub: StubDashboard, ti: TaskInstance) -> None:
    """The job is submitted and its links work before the task defers, with every setting."""
    operator = a_command(
        deferrable=True,
        stream_logs=False,
        stop_on_kill=False,
        unreachable_timeout=7.0,
        job_timeout="PT1M",
        pending_timeout=timedelta(seconds=5),
    )

    moment = deferred(operator, ti)

    trigger = moment.trigger
    assert isinstance(trigger, RayJobTrigger)
    assert moment.method_name == "execute_complete"
    assert moment.timeout is None
    assert list(stub.jobs) == [trigger.job_id] == [ti.xcoms["job_id"]]
    assert (trigger.stream_logs, trigger.stop_on_kill) == (False, False)
    assert (trigger.poll_interval, trigger.unreachable_timeout) == (0.05, 7.0)
    assert trigger.deadlines["job_timeout"] == pytest.approx(time.time() + 60, abs=5)
    assert trigger.deadlines["pending_timeout"] == pytest.approx(time.time() + 5, abs=5)


def test_execution_timeout_reaches_the_trigger(stub: StubDashboard, ti: TaskInstance) -> None:
    """Airflow's own limit would call nobody: ours comes first, its own some time after."""
    operator = a_command(deferrable=True, execution_timeout=timedelta(minutes=10))

    moment = deferred(operator, ti)

    started = ti.start_date.timestamp()
    assert moment.trigger.deadlines["execution_timeout"] == pytest.approx(started + 600)
    assert moment.timeout is not None
    assert timedelta(minutes=10) < moment.timeout < timedelta(minutes=12)


@pytest.mark.parametrize("value", ["True", "False"])
def test_default_of_deferrable_is_airflow_s(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """``[operators] default_deferrable`` counts where nothing is said."""
    monkeypatch.setenv("AIRFLOW__OPERATORS__DEFAULT_DEFERRABLE", value)

    assert a_command().deferrable is (value == "True")
    assert a_command(deferrable=False).deferrable is False


def test_next_try_takes_the_job_over(stub: StubDashboard, caplog: pytest.LogCaptureFixture) -> None:
    """After the worker died, the next try shows the same job from its start and its end."""
    stub.script(log=((0.0, b"from the start\n"),), runtime=0.2)
    first = TaskInstance(max_tries=1)
    run(a_command(retries=1, wait_for_completion=False), first)

    second = TaskInstance(try_number=2, max_tries=1)
    run(a_command(retries=1), second)

    assert list(stub.jobs) == [second.xcoms["job_id"]] == [first.xcoms["job_id"]]
    assert messages(caplog).count("from the start") == 1
    assert any("Took over Ray job" in text for text in messages(caplog))


def test_changed_code_still_finds_the_job(stub: StubDashboard) -> None:
    """A try that was deployed anew meanwhile takes its job over all the same."""
    stub.script(runtime=0.2)
    run(a_command(retries=1, wait_for_completion=False), TaskInstance(max_tries=1))

    run(a_command(retries=1, entrypoint="echo new"), TaskInstance(try_number=2, max_tries=1))

    assert [job.request["entrypoint"] for job in stub.jobs.values()] == ["true"]


def test_failed_job_is_replaced_by_the_next_try(stub: StubDashboard) -> None:
    """A retry of a task whose job FAILED starts a new one."""
    stub.script(status="FAILED")
    with pytest.raises(RayJobEntrypointError):
        run(a_command(retries=1), TaskInstance(max_tries=1))
    stub.script()

    run(a_command(retries=1), TaskInstance(try_number=2, max_tries=1))

    assert [job.status for job in stub.jobs.values()] == ["FAILED", "SUCCEEDED"]


def test_cleared_task_starts_a_new_job(stub: StubDashboard) -> None:
    """What a user clears runs again, also if its job had succeeded."""
    run(a_command(retries=1), TaskInstance(max_tries=1))

    run(a_command(retries=1), TaskInstance(try_number=2, max_tries=2))

    assert len(stub.jobs) == 2


def test_task_that_does_not_reattach_starts_a_new_job(stub: StubDashboard) -> None:
    """With ``reattach=False`` each try has a job of its own."""
    for try_number in (1, 2):
        ti = TaskInstance(try_number=try_number, max_tries=1)
        run(a_command(retries=1, reattach=False), ti)

    assert len(stub.jobs) == 2


def test_given_id_of_another_job_conflicts(stub: StubDashboard, ti: TaskInstance) -> None:
    """A job that is not this task's is never taken over."""
    stub.add_job("shared", runtime=NEVER)

    with pytest.raises(JobIdConflictError, match="shared"):
        run(a_command(job_id="shared"), ti)

    assert stub.jobs["shared"].status == "RUNNING"


def test_job_that_takes_too_long_is_stopped(
    stub: StubDashboard, ti: TaskInstance, caplog: pytest.LogCaptureFixture
) -> None:
    """When ``job_timeout`` has passed, the job is stopped and the error names the limit."""
    stub.script(runtime=NEVER, stop_delay=0.1)

    with pytest.raises(RayJobTimeoutError, match="job_timeout"):
        run(a_command(job_timeout=0.3), ti)

    assert stub.jobs[ti.xcoms["job_id"]].status == "STOPPED"
    assert any(text.endswith("was stopped.") for text in messages(caplog))


@pytest.mark.parametrize("stop_on_kill", [True, False])
def test_killed_task_stops_its_job_if_it_may(
    stub: StubDashboard, ti: TaskInstance, stop_on_kill: bool
) -> None:
    """A killed worker's task stops its job, unless the user wants it to go on."""
    stub.script(runtime=NEVER)
    operator = a_command(wait_for_completion=False, stop_on_kill=stop_on_kill)
    run(operator, ti)

    operator.on_kill()

    assert stub.jobs[ti.xcoms["job_id"]].status == ("STOPPED" if stop_on_kill else "RUNNING")


def test_task_that_was_killed_before_it_submits(stub: StubDashboard, ti: TaskInstance) -> None:
    """A kill that comes before the job was sent leaves none behind."""
    operator = a_command()
    operator.on_kill()

    with pytest.raises(RayJobStoppedError, match="the task was killed"):
        run(operator, ti)

    assert stub.count(routes.SUBMIT) == 0


def test_task_that_is_killed_while_it_submits(
    stub: StubDashboard, ti: TaskInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job that gets through while the task is being killed is stopped, and a retry may follow."""
    stub.script(runtime=NEVER)
    operator = a_command()
    submit = RayJobExecutor.submit_prepared

    def submit_and_be_killed(*args: Any) -> str:
        operator.on_kill()  # the signal comes here: the cluster does not know the job yet
        return submit(*args)

    monkeypatch.setattr(RayJobExecutor, "submit_prepared", submit_and_be_killed)

    with pytest.raises(RayJobStoppedError, match="the task was killed"):
        run(operator, ti)

    assert [job.status for job in stub.jobs.values()] == ["STOPPED"]


def test_job_that_survived_a_clear_is_stopped(
    stub: StubDashboard, caplog: pytest.LogCaptureFixture
) -> None:
    """What nobody could stop when the task was cleared, the next try stops."""
    stub.script(runtime=NEVER)
    run(a_command(wait_for_completion=False), TaskInstance())

    run(a_command(wait_for_completion=False), TaskInstance(try_number=2, max_tries=1))

    assert [job.status for job in stub.jobs.values()] == ["STOPPED", "RUNNING"]
    assert any("from before the task was cleared" in text for text in messages(caplog))


@pytest.mark.parametrize(
    ("given", "kind"),
    [
        ({"job_timeout": "soon"}, ValueError),
        ({"pending_timeout": -1}, ValueError),
        ({"num_cpus": "-1"}, RayJobSubmissionError),
        ({"num_cpus": "many"}, RayJobSubmissionError),
        ({"job_id": "a/b"}, RayJobSubmissionError),
        ({"entrypoint": ""}, RayJobSubmissionError),
        ({"working_dir": "/no/such/folder"}, AirflowSynapseError),
    ],
)
def test_bad_argument_submits_nothing(
    stub: StubDashboard, ti: TaskInstance, given: dict[str, Any], kind: type[Exception]
) -> None:
    """What can't be is refused before a job is started or an XCom is pushed."""
    with pytest.raises(kind):
        run(a_command(**given), ti)

    assert stub.count(routes.SUBMIT) == 0
    assert ti.xcoms == {}


def test_unknown_action_submits_nothing(
    stub: StubDashboard, ti: TaskInstance, plugin: Path
) -> None:
    """The error names the actions that there are."""
    operator = SubmitPluginActionOperator(task_id="task", action_name="runn", working_dir=plugin)

    with pytest.raises(ActionNotFoundError, match="It has: run"):
        run(operator, ti)

    assert stub.count() == 0


@pytest.mark.parametrize("event", [None, {}, "done", {"status": "WELL"}, {"status": "success"}])
def test_event_that_is_none_of_ours_fails_the_task(ti: TaskInstance, event: Any) -> None:
    """An unknown end is no success."""
    with pytest.raises(ExecutionError, match="was watched by a trigger that ended with"):
        a_command().execute_complete({"ti": ti}, event)  # type: ignore[typeddict-item]


def resume_broken(operator: RayJobOperator, ti: TaskInstance, error: str) -> None:
    operator.resume_execution("__fail__", {"error": error, "traceback": None}, {"ti": ti})  # type: ignore[typeddict-item]


def test_deferral_that_timed_out_stops_the_job(stub: StubDashboard, ti: TaskInstance) -> None:
    """If Airflow's own limit ends the deferral, the job is not left behind."""
    stub.add_job("j", runtime=NEVER)
    ti.xcoms["job_id"] = "j"

    with pytest.raises(TaskDeferralTimeout):
        resume_broken(a_command(), ti, "Trigger timeout")

    assert stub.jobs["j"].status == "STOPPED"


@pytest.mark.parametrize(
    ("max_tries", "reattach", "status"),
    [(0, True, "STOPPED"), (1, True, "RUNNING"), (1, False, "STOPPED")],
)
def test_trigger_that_broke_leaves_the_job_only_to_a_next_try(
    stub: StubDashboard, max_tries: int, reattach: bool, status: str
) -> None:
    """A job that nobody would watch any more is stopped."""
    stub.add_job("j", runtime=NEVER)
    ti = TaskInstance(max_tries=max_tries, xcoms={"job_id": "j"})

    with pytest.raises(TaskDeferralError):
        resume_broken(a_command(retries=max_tries, reattach=reattach), ti, "Trigger failure")

    assert stub.jobs["j"].status == status


def test_templates_are_rendered_and_env_stays_hidden(stub: StubDashboard, ti: TaskInstance) -> None:
    """``env`` and ``runtime_env`` may hold templates but are not among the shown fields."""
    operator = a_command(
        env={"KEY": "{{ secret }}"}, runtime_env={"env_vars": {"OTHER": "{{ secret }}"}}
    )

    operator.execute({"ti": ti, "secret": "s3cret"})  # type: ignore[typeddict-item]

    sent = next(iter(stub.jobs.values())).request["runtime_env"]["env_vars"]
    assert sent == {"KEY": "s3cret", "OTHER": "s3cret"}
    assert not {"env", "runtime_env"} & set(operator.template_fields)


@pytest.mark.parametrize("kind", [SubmitRayJobOperator, SubmitPluginActionOperator])
def test_template_fields_exist(kind: type[RayJobOperator]) -> None:
    """Each templated field is an attribute that the constructor stores as it was given."""
    name = "entrypoint" if kind is SubmitRayJobOperator else "action_name"
    operator = kind(task_id="task", **{name: "{{ x }}"}, num_cpus="{{ cpus }}")

    assert all(hasattr(operator, field) for field in kind.template_fields)
    assert getattr(operator, name) == "{{ x }}"
    assert operator.num_cpus == "{{ cpus }}"


def test_operators_can_be_mapped() -> None:
    """Every argument works in ``partial`` and ``expand``."""
    with DAG("dag", schedule=None):
        mapped = SubmitPluginActionOperator.partial(
            task_id="sweep", action_name="run", working_dir="/plugin", deferrable=True
        ).expand(action_params=[{"lr": 0.1}, {"lr": 0.2}])

    assert mapped.task_id == "sweep"
    assert json.dumps(mapped.partial_kwargs["working_dir"]) == '"/plugin"'
