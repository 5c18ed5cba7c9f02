"""Who reads the event of an asset learns which job made it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import Asset, AssetAlias

from airflow_synapse.exceptions import RayJobEntrypointError
from airflow_synapse.operators.plugin_action import SubmitPluginActionOperator
from airflow_synapse.rayjobs.job.results import result_file
from airflow_synapse.sensors.ray_job import RayJobSensor
from tests.lineage.running import OutletEvents
from tests.operators.running import a_command
from tests.support.stub_dashboard import StubDashboard
from tests.support.stub_jobs import NEVER

MODEL = Asset("model")


@pytest.fixture
def outlet_events() -> OutletEvents:
    return OutletEvents()


def test_event_tells_of_the_job(
    stub: StubDashboard, outlet_events: OutletEvents, plugin: Path
) -> None:
    """Job, cluster, page, plugin, action, status and duration are in the extra, as JSON."""
    operator = SubmitPluginActionOperator(
        task_id="task",
        action_name="run",
        working_dir=plugin,
        job_id="j",
        poll_interval=0.05,
        outlets=[MODEL],
        env={"TOKEN": "s3cret"},
    )
    stub.files[result_file("j")] = b'{"result": 1}'

    operator.execute(outlet_events.context)

    extra = json.loads(json.dumps(outlet_events.extra(MODEL)))
    assert extra.pop("duration") >= 0
    assert extra == {
        "job_id": "j",
        "cluster": stub.url,
        "dashboard_url": f"{stub.url}/#/jobs/j",
        "status": "SUCCEEDED",
        "plugin": "p",
        "action": "run",
    }


def test_event_after_a_deferral_tells_the_same(outlet_events: OutletEvents) -> None:
    """Another process, with another instance of the operator, knows it from the trigger's event."""
    event = {
        "status": "SUCCEEDED",
        "job_id": "j",
        "cluster": "http://ray:8265",
        "dashboard_url": "http://ray:8265/#/jobs/j",
        "duration": 1.5,
    }

    a_command(outlets=[MODEL]).execute_complete(outlet_events.context, event)

    assert outlet_events.extra(MODEL) == event


def test_task_that_does_not_wait_tells_what_it_submitted(
    stub: StubDashboard, outlet_events: OutletEvents
) -> None:
    """There is no end yet, but a job."""
    stub.script(runtime=NEVER)

    job_id = a_command(wait_for_completion=False, outlets=[MODEL]).execute(outlet_events.context)

    assert outlet_events.extra(MODEL) == {
        "job_id": job_id,
        "cluster": stub.url,
        "dashboard_url": f"{stub.url}/#/jobs/{job_id}",
        "status": "PENDING",
    }


def test_failed_job_tells_no_asset(stub: StubDashboard, outlet_events: OutletEvents) -> None:
    """Nothing was made."""
    stub.script(status="FAILED")

    with pytest.raises(RayJobEntrypointError):
        a_command(outlets=[MODEL]).execute(outlet_events.context)

    assert len(outlet_events.events) == 0


def test_what_the_user_has_put_there_stays(
    stub: StubDashboard, outlet_events: OutletEvents
) -> None:
    """A hook of the user's that runs before has the last word on its own keys."""
    outlet_events.extra(MODEL).update({"status": "fine", "rows": 3})

    a_command(outlets=[MODEL]).execute(outlet_events.context)

    assert outlet_events.extra(MODEL)["status"] == "fine"
    assert outlet_events.extra(MODEL)["rows"] == 3
    assert "job_id" in outlet_events.extra(MODEL)


def test_alias_is_left_to_the_user(stub: StubDashboard, outlet_events: OutletEvents) -> None:
    """Which assets an alias stands for, only the user can tell."""
    operator = a_command(outlets=[AssetAlias("some model"), Asset.ref(name="other"), "text"])

    operator.execute(outlet_events.context)

    assert len(outlet_events.events) == 0


def test_sensor_tells_of_the_job_it_waited_for(
    stub: StubDashboard, outlet_events: OutletEvents
) -> None:
    """A job that something else submitted makes assets, too."""
    stub.add_job("j")
    sensor = RayJobSensor(task_id="sense", job_id="j", poke_interval=0.05, outlets=[MODEL])

    sensor.execute(outlet_events.context)

    assert outlet_events.extra(MODEL)["job_id"] == "j"
    assert outlet_events.extra(MODEL)["status"] == "SUCCEEDED"


def test_deferred_sensor_tells_of_it_as_well(outlet_events: OutletEvents) -> None:
    """From the trigger's event."""
    event: Any = {"status": "SUCCEEDED", "job_id": "j", "cluster": "http://ray:8265"}

    RayJobSensor(task_id="sense", job_id="j", outlets=[MODEL]).execute_complete(
        outlet_events.context, event
    )

    assert outlet_events.extra(MODEL) == event
