"""A sensor ends as somebody else's job does, and never stops it."""

from __future__ import annotations

import json
import logging
import time
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import DAG, BaseOperator

from airflow_synapse.exceptions import (
    ExecutionError,
    RayJobEntrypointError,
    RayJobNotFoundError,
    RayJobTimeoutError,
)
from airflow_synapse.rayjobs.base_executor import BaseRayExecutor
from airflow_synapse.sensors.ray_job import RayJobSensor
from airflow_synapse.triggers.ray_job import RayJobTrigger
from airflow_synapse.version_compat import (
    TRIGGERS_RENDER_TEMPLATES,
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    TaskDeferralError,
    TaskDeferred,
)
from tests.support import stub_dashboard as routes
from tests.support.faults import Answer, CutBody, Hang
from tests.support.paces import FAST_PACE
from tests.support.stub_dashboard import StubDashboard
from tests.support.stub_jobs import NEVER


@pytest.fixture(autouse=True)
def log(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """The task's log is one that a test can read; Airflow's own goes to standard output."""
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(RayJobSensor, "log", logging.getLogger("the task's log"))


@pytest.fixture
def stub(stub_dashboard: StubDashboard, monkeypatch: pytest.MonkeyPatch) -> StubDashboard:
    """A stub dashboard to which ``ray_default`` leads."""
    connection = {"conn_type": "ray", "host": stub_dashboard.url}
    monkeypatch.setenv("AIRFLOW_CONN_RAY_DEFAULT", json.dumps(connection))
    return stub_dashboard


@pytest.fixture
def context() -> Any:
    xcoms: dict[str, Any] = {}
    ti = SimpleNamespace(
        xcoms=xcoms,
        xcom_push=lambda key, value: xcoms.update({key: value}),
        start_date=datetime.now(timezone.utc),
        try_number=1,
        max_tries=0,
        task_id="sensor",
        map_index=-1,
        run_id="run",
        dag_id="dag",
        get_first_reschedule_date=lambda _: None,
    )
    return {"ti": ti}


def a_sensor(**given: Any) -> RayJobSensor:
    return RayJobSensor(**{"task_id": "sensor", "job_id": "j", "poke_interval": 0.05, **given})


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


def test_sensor_succeeds_with_the_job(
    stub: StubDashboard, context: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """It waits in the worker, shows each line of the job once, and leaves a link."""
    log = tuple((0.1 * number, b"line %d\n" % number) for number in range(5))
    stub.add_job("j", runtime=0.6, log=log, has_header=False)

    a_sensor().execute(context)

    assert [text for text in messages(caplog) if text.startswith("line")] == [
        f"line {number}" for number in range(5)
    ]
    assert context["ti"].xcoms["dashboard_url"] == f"{stub.url}/#/jobs/j"


def test_poke_tells_whether_the_job_has_succeeded(stub: StubDashboard) -> None:
    """Also in reschedule mode, where each poke may be in another process."""
    stub.add_job("j", runtime=NEVER)
    sensor = a_sensor(mode="reschedule")
    assert sensor.poke({}) is False

    stub.jobs["j"].finish()

    assert sensor.poke({}) is True


def test_reschedule_mode_shows_no_log(
    stub: StubDashboard, caplog: pytest.LogCaptureFixture
) -> None:
    """Each poke would show the whole log again."""
    stub.add_job("j", log=((0.0, b"line\n"),))

    a_sensor(mode="reschedule").poke({})

    assert "line" not in messages(caplog)


def test_failed_job_fails_the_sensor(stub: StubDashboard) -> None:
    """The error tells the exit code and the last lines."""
    stub.add_job("j", status="FAILED", exit_code=3, log=((0.0, b"boom\n"),))

    with pytest.raises(RayJobEntrypointError, match="exit code 3") as caught:
        a_sensor().poke({})

    assert caught.value.last_lines[-1] == "boom"


def test_stopped_job_fails_the_sensor_for_good(stub: StubDashboard) -> None:
    """A job that somebody stopped won't succeed at the next try."""
    stub.add_job("j", status="STOPPED")

    with pytest.raises(AirflowFailException, match="was STOPPED by somebody"):
        a_sensor().poke({})


def test_unknown_job_fails_the_sensor(stub: StubDashboard) -> None:
    """A job that does not exist is not waited for."""
    with pytest.raises(RayJobNotFoundError, match="Ray job j"):
        a_sensor().poke({})


def test_outage_is_outlasted(stub: StubDashboard) -> None:
    """A dashboard that is away for a moment fails no sensor."""
    stub.add_job("j")
    stub.inject(Answer(503), route=routes.GET_JOB)

    assert a_sensor().poke({}) is True


def test_log_that_is_gone_does_not_matter(stub: StubDashboard) -> None:
    """The sensor is about the job's end, not its log."""
    stub.add_job("j")
    stub.inject(Answer(404), times=None, route=routes.AGENT_LOG)
    stub.inject(Answer(500, b"A file is not found at: x"), times=None, route=routes.LOGS)

    assert a_sensor().poke({}) is True


def test_read_that_breaks_off_loses_and_repeats_nothing(
    stub: StubDashboard, caplog: pytest.LogCaptureFixture
) -> None:
    """What came before a connection was cut is shown once, and the next look goes on after it."""
    log = b"".join(b"line %d\n" % number for number in range(100))
    job = stub.add_job("j", runtime=NEVER, log=((0.0, log),), has_header=False)
    stub.inject(CutBody(350), route=routes.AGENT_LOG)
    sensor = a_sensor()

    assert sensor.poke({}) is False
    job.finish()
    assert sensor.poke({}) is True

    assert [text for text in messages(caplog) if text.startswith("line")] == [
        f"line {number}" for number in range(100)
    ]


def test_log_that_seems_empty_at_the_end_is_looked_at_again(
    stub: StubDashboard, caplog: pytest.LogCaptureFixture
) -> None:
    """A busy head now and then answers as if a log were empty, and a cut answer is no end."""
    stub.add_job("j", log=((0.0, b"line 1\nline 2\n"),), has_header=False)
    stub.inject(Answer(404), times=None, route=routes.AGENT_LOG)
    stub.inject(Answer(200, b"", {"Content-Type": "text/plain"}), route=routes.LOGS)
    stub.inject(CutBody(9), route=routes.LOGS)

    assert a_sensor().poke({}) is True

    assert [text for text in messages(caplog) if text.startswith("line")] == ["line 1", "line 2"]


@pytest.mark.parametrize("fault", [Answer(403), Answer(502), Hang()], ids=repr)
def test_broken_log_route_neither_fails_nor_holds_up_a_poke(
    stub: StubDashboard, monkeypatch: pytest.MonkeyPatch, fault: Answer | Hang
) -> None:
    """The sensor is about the job's end, however long its log can't be read."""
    connection = {"conn_type": "ray", "host": stub.url, "extra": {"request_timeout": 0.5}}
    monkeypatch.setenv("AIRFLOW_CONN_RAY_DEFAULT", json.dumps(connection))
    monkeypatch.setattr(BaseRayExecutor, "pace", replace(FAST_PACE, patience_for_end=0.2))
    job = stub.add_job("j", runtime=NEVER)
    stub.inject(Answer(404), times=None, route=routes.AGENT_LOG)
    stub.inject(fault, times=None, route=routes.LOGS)
    sensor = a_sensor()
    began = time.monotonic()

    assert sensor.poke({}) is False
    assert time.monotonic() - began < 1.5
    job.finish()
    assert sensor.poke({}) is True

    assert time.monotonic() - began < 10


def test_failed_job_is_told_without_its_log(stub: StubDashboard) -> None:
    """Where the last lines can't be had, the job's own error is what the sensor fails with."""
    stub.add_job("j", status="FAILED", exit_code=3)
    stub.inject(Answer(404), times=None, route=routes.AGENT_LOG)
    stub.inject(Answer(503), times=None, route=routes.LOGS)
    began = time.monotonic()

    with pytest.raises(RayJobEntrypointError, match="exit code 3"):
        a_sensor(stream_logs=False).poke({})

    assert time.monotonic() - began < 5


@pytest.mark.parametrize("status", ["FAILED", "STOPPED"])
def test_soft_fail_skips(stub: StubDashboard, status: str) -> None:
    """With ``soft_fail`` a job that did not succeed skips the task."""
    stub.add_job("j", status=status)

    with pytest.raises(AirflowSkipException, match=status):
        a_sensor(soft_fail=True).poke({})


def test_timeout_of_the_sensor_works(stub: StubDashboard, context: Any) -> None:
    """``timeout`` ends a sensor as it ends every other; the job runs on."""
    stub.add_job("j", runtime=NEVER)

    with pytest.raises(AirflowSensorTimeout):
        a_sensor(timeout=0.2).execute(context)

    assert stub.jobs["j"].status == "RUNNING"


def test_killed_sensor_leaves_the_job(stub: StubDashboard) -> None:
    """The job belongs to somebody else."""
    stub.add_job("j", runtime=NEVER)

    a_sensor().on_kill()

    assert stub.count(routes.STOP) == 0


def test_deferred_sensor_leaves_all_to_its_trigger(stub: StubDashboard, context: Any) -> None:
    """The trigger gets the sensor's settings, stops no job and reads no result."""
    sensor = a_sensor(deferrable=True, poll_interval=7.0, stream_logs=False, timeout=90)

    with pytest.raises(TaskDeferred) as caught:
        sensor.execute(context)

    trigger = caught.value.trigger
    assert isinstance(trigger, RayJobTrigger)
    assert (trigger.job_id, trigger.poll_interval, trigger.stream_logs) == ("j", 7.0, False)
    assert (trigger.stop_on_kill, trigger.fetch_result) == (False, False)
    assert caught.value.timeout == timedelta(seconds=90)
    assert stub.count() == 0


@pytest.mark.parametrize(
    ("given", "poke_interval", "poll_interval"),
    [
        ({}, 5.0, 5.0),
        ({"poke_interval": 120}, 120.0, 120.0),
        ({"poke_interval": timedelta(minutes=2)}, 120.0, 120.0),
        ({"default_args": {"poke_interval": 120}}, 120.0, 120.0),
        ({"poll_interval": 30}, 30.0, 30.0),
        ({"poke_interval": 120, "poll_interval": 30}, 120.0, 30.0),
    ],
)
def test_either_interval_stands_for_both(
    given: dict[str, Any], poke_interval: float, poll_interval: float
) -> None:
    """A sensor looks as often as it was told, wherever it waits."""
    sensor = RayJobSensor(task_id="sensor", job_id="j", **given)

    assert (sensor.poke_interval, sensor.poll_interval) == (poke_interval, poll_interval)


def test_execution_timeout_of_a_deferred_sensor(stub: StubDashboard, context: Any) -> None:
    """It counts from the start of the try, and is told from the sensor's own timeout: a retry helps."""
    sensor = a_sensor(deferrable=True, execution_timeout=timedelta(seconds=60))
    context["ti"].start_date -= timedelta(seconds=20)

    with pytest.raises(TaskDeferred) as caught:
        sensor.execute(context)
    assert caught.value.timeout is not None
    assert 30 < caught.value.timeout.total_seconds() <= 40

    with pytest.raises(RayJobTimeoutError, match="execution_timeout of 0:01:00"):
        sensor.resume_execution("__fail__", {"error": "Trigger timeout"}, context)


@pytest.mark.parametrize("soft_fail", [True, False])
def test_timeout_of_a_deferred_sensor(soft_fail: bool) -> None:
    """A deferral that timed out is a sensor's timeout, or skips."""
    sensor = a_sensor(soft_fail=soft_fail, timeout=90)

    with pytest.raises(AirflowSkipException if soft_fail else AirflowSensorTimeout, match="90 s"):
        sensor.resume_execution("__fail__", {"error": "Trigger timeout"}, {})


def test_broken_trigger_skips_nothing() -> None:
    """``soft_fail`` is about the job: a triggerer that broke is a failure."""
    with pytest.raises(TaskDeferralError):
        a_sensor(soft_fail=True).resume_execution("__fail__", {"error": "Trigger failure"}, {})


@pytest.mark.parametrize("event", [None, {}, {"status": "WELL"}])
def test_event_that_is_none_of_ours_fails_the_sensor(event: Any) -> None:
    """An unknown end is no success."""
    with pytest.raises(ExecutionError, match="was watched by a trigger that ended with"):
        a_sensor().execute_complete({}, event)


def test_event_of_success_ends_the_sensor() -> None:
    """A job that succeeded lets the sensor succeed."""
    assert a_sensor().execute_complete({}, {"status": "SUCCEEDED", "job_id": "j"}) is None


@pytest.mark.skipif(not TRIGGERS_RENDER_TEMPLATES, reason="needs Airflow 3.3")
def test_start_from_trigger_gives_the_trigger_all_it_needs() -> None:
    """The triggerer makes of the arguments the trigger that a worker would have deferred to."""
    sensor = a_sensor(
        deferrable=True, start_from_trigger=True, end_from_trigger=True, poll_interval=2, timeout=60
    )

    args = sensor.start_trigger_args
    assert sensor.start_from_trigger
    assert args.trigger_cls == "airflow_synapse.triggers.ray_job.RayJobTrigger"
    assert args.timeout == timedelta(seconds=60)
    trigger = RayJobTrigger(**args.trigger_kwargs)
    assert (trigger.job_id, trigger.poll_interval, trigger.stop_on_kill) == ("j", 2, False)
    assert trigger.end_from_trigger
    assert trigger.is_first
    assert set(args.trigger_kwargs) & set(sensor.template_fields) == {"job_id", "ray_conn_id"}


@pytest.mark.skipif(not TRIGGERS_RENDER_TEMPLATES, reason="needs Airflow 3.3")
@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"deferrable": False}, "it is not deferrable"),
        ({"job_id": "{{ ti.xcom_pull(task_ids='a') }}"}, "xcom_pull without map_indexes"),
        ({"job_id": None}, "use a template instead"),
    ],
)
def test_what_the_triggerer_can_t_start_is_left_to_a_worker(
    given: dict[str, Any], why: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It says why, and the task is deferred by a worker as usual."""
    with DAG("sensors"):
        if "job_id" in given:
            given["job_id"] = given["job_id"] or BaseOperator(task_id="a").output
        sensor = a_sensor(**{"deferrable": True, "start_from_trigger": True, **given})

    assert not sensor.start_from_trigger
    assert why in messages(caplog)[-1]


@pytest.mark.skipif(not TRIGGERS_RENDER_TEMPLATES, reason="needs Airflow 3.3")
def test_template_with_map_indexes_starts_from_the_trigger() -> None:
    """The way to name another task's job that Airflow's triggerer understands."""
    template = "{{ ti.xcom_pull(task_ids='a', map_indexes=-1) }}"

    assert a_sensor(job_id=template, deferrable=True, start_from_trigger=True).start_from_trigger


def test_end_from_trigger_needs_the_trigger() -> None:
    """Airflow refuses DAGs by this attribute, so it is set only where it means something."""
    assert not a_sensor(deferrable=False, end_from_trigger=True).end_from_trigger
    assert a_sensor(deferrable=True, end_from_trigger=True).end_from_trigger
