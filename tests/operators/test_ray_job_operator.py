"""A task submits one job, waits for it where it was told to, and ends as its job does."""

from __future__ import annotations

import json
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG

from airflow_synapse.exceptions import (
    ActionNotFoundError,
    AirflowSynapseError,
    ExecutionError,
    RayJobEntrypointError,
    RayJobSubmissionError,
    RayJobTimeoutError,
)
from airflow_synapse.operators.base import RayJobOperator
from airflow_synapse.operators.plugin_action import SubmitPluginActionOperator
from airflow_synapse.operators.ray_job import SubmitRayJobOperator
from airflow_synapse.rayjobs.job.results import result_file
from airflow_synapse.triggers.ray_job import RayJobTrigger
from airflow_synapse.version_compat import AirflowFailException, AirflowSkipException
from tests.operators.running import a_command, deferred, messages, run, runtime_env_of
from tests.operators.task_instance import TaskInstance
from tests.support import stub_dashboard as routes
from tests.support.faults import Answer, Fault, Reset
from tests.support.stub_dashboard import StubDashboard
from tests.support.stub_jobs import NEVER


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


@pytest.mark.parametrize("deferrable", [True, False])
def test_result_that_nobody_wants_is_not_read(
    stub: StubDashboard, ti: TaskInstance, plugin: Path, deferrable: bool
) -> None:
    """Without XComs, a result that can't be read fails no task."""
    operator = SubmitPluginActionOperator(
        task_id="task",
        action_name="run",
        working_dir=plugin,
        do_xcom_push=False,
        deferrable=deferrable,
        poll_interval=0.05,
    )
    event = {"status": "SUCCEEDED", "job_id": "j"}

    if deferrable:
        trigger = deferred(operator, ti).trigger
        assert isinstance(trigger, RayJobTrigger)
        assert not trigger.fetch_result
        assert operator.execute_complete({"ti": ti}, event) is None  # type: ignore[typeddict-item]
    else:
        assert run(operator, ti) is None


def test_result_that_no_xcom_can_hold_is_kept_as_text(
    stub: StubDashboard, ti: TaskInstance, plugin: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """An integer of more than 64 bits, or broken text, fails no task whose job has succeeded."""
    operator = SubmitPluginActionOperator(
        task_id="task", action_name="run", working_dir=plugin, job_id="j", poll_interval=0.05
    )
    stub.files[result_file("j")] = (
        b'{"result": {"seed": 340282366920938463463374607431768211456, "t": "\\ud800"}}'
    )

    assert run(operator, ti) == {"seed": str(2**128), "t": "\\ud800"}
    assert any("more than 64 bits" in text for text in messages(caplog))


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


@pytest.mark.parametrize("codes", [3, [3, 4], {3}, range(2, 5)])
def test_exit_code_may_skip_the_task(stub: StubDashboard, ti: TaskInstance, codes: Any) -> None:
    """A job may say by its exit code that there was nothing to do."""
    stub.script(status="FAILED", exit_code=3)

    with pytest.raises(AirflowSkipException, match="exited with code 3"):
        run(a_command(skip_on_exit_code=codes), ti)


@pytest.mark.parametrize(("exit_code", "codes"), [(1, 3), (1, [3]), (0, None), (None, None)])
def test_other_exit_codes_fail_the_task(
    stub: StubDashboard, ti: TaskInstance, exit_code: int | None, codes: Any
) -> None:
    """Whatever was not named is a failure, a job without an exit code among them."""
    stub.script(status="FAILED", exit_code=exit_code)

    with pytest.raises(AirflowSynapseError, match="FAILED"):
        run(a_command(skip_on_exit_code=codes), ti)


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


@pytest.mark.parametrize("ahead", [1200.0, -1200.0])
def test_limits_are_counted_on_the_cluster_s_clock(stub: StubDashboard, ahead: float) -> None:
    """Worker and triggerer may have other clocks, and the head's own may differ from its proxy's."""
    stub.clock_ahead = ahead
    stub.script(runtime=NEVER)
    limits = {
        "job_timeout": 600,
        "execution_timeout": timedelta(seconds=300),
        "retries": 1,
        "deferrable": True,
    }

    first = deferred(a_command(**limits), TaskInstance(max_tries=1)).trigger
    for job in stub.jobs.values():
        job._wall_start -= 20 * 60 * 1000
    second = deferred(a_command(**limits), TaskInstance(try_number=2, max_tries=1)).trigger

    for trigger in (first, second):
        assert isinstance(trigger, RayJobTrigger)
        left = {name: at - time.time() - ahead for name, at in trigger.deadlines.items()}
        assert left == {
            "job_timeout": pytest.approx(600, abs=20),
            "execution_timeout": pytest.approx(300, abs=20),
        }


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


def test_job_that_takes_too_long_is_stopped(
    stub: StubDashboard, ti: TaskInstance, caplog: pytest.LogCaptureFixture
) -> None:
    """When ``job_timeout`` has passed, the job is stopped and the error names the limit."""
    stub.script(runtime=NEVER, stop_delay=0.1)

    with pytest.raises(RayJobTimeoutError, match="job_timeout"):
        run(a_command(job_timeout=0.3), ti)

    assert stub.jobs[ti.xcoms["job_id"]].status == "STOPPED"
    assert any(text.endswith("was stopped.") for text in messages(caplog))


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

    with pytest.raises(ActionNotFoundError, match="Available actions: run"):
        run(operator, ti)

    assert stub.count() == 0


@pytest.mark.parametrize("event", [None, {}, "done", {"status": "WELL"}, {"status": "success"}])
def test_event_that_is_none_of_ours_fails_the_task(ti: TaskInstance, event: Any) -> None:
    """An unknown end is no success."""
    with pytest.raises(ExecutionError, match="was watched by a trigger that ended with"):
        a_command().execute_complete({"ti": ti}, event)  # type: ignore[typeddict-item]


def test_templates_are_rendered_and_env_stays_hidden(stub: StubDashboard, ti: TaskInstance) -> None:
    """``env`` and ``runtime_env`` may hold templates but are not among the shown fields."""
    operator = a_command(
        env={"KEY": "{{ secret }}"}, runtime_env={"env_vars": {"OTHER": "{{ secret }}"}}
    )

    context: Any = {"ti": ti, "secret": "s3cret"}
    operator.render_template_fields(context)
    operator.execute(context)

    (job,) = stub.jobs.values()
    assert runtime_env_of(job.request)["env_vars"] == {"KEY": "s3cret", "OTHER": "s3cret"}
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


def test_job_is_told_which_task_submitted_it(stub: StubDashboard, ti: TaskInstance) -> None:
    """By the variables that Airflow sets for its own commands, unless the DAG sets them."""
    operator = a_command(env={"AIRFLOW_CTX_DAG_OWNER": "me"})

    run(operator, ti)

    sent = next(iter(stub.jobs.values())).request["runtime_env"]["env_vars"]
    assert sent == {
        "AIRFLOW_CTX_DAG_ID": "dag",
        "AIRFLOW_CTX_DAG_RUN_ID": "run",
        "AIRFLOW_CTX_TASK_ID": "task",
        "AIRFLOW_CTX_MAP_INDEX": "-1",
        "AIRFLOW_CTX_TRY_NUMBER": "1",
        "AIRFLOW_CTX_DAG_OWNER": "me",
    }


@pytest.mark.parametrize("fault", [Reset(), Answer(403)])
def test_first_try_that_reaches_no_cluster_names_no_job(
    stub: StubDashboard, ti: TaskInstance, fault: Fault
) -> None:
    """Nothing was sent, so nothing may still be running."""
    stub.inject(fault, times=None)

    with pytest.raises(AirflowSynapseError) as told:
        run(a_command(unreachable_timeout=0), ti)

    assert "still be running" not in str(told.value)
