"""What a real Airflow keeps of the jobs that made assets."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from local_services.airflow_deployment import AirflowDeployment

pytestmark = pytest.mark.timeout(420)


@pytest.fixture(scope="module", params=["triggerer", "worker"])
def made(request: pytest.FixtureRequest, airflow: AirflowDeployment) -> dict[str, Any]:
    """The extra of each asset event by the asset's name, and the ids of the jobs by task."""
    dag_id = f"makes_assets_in_{request.param}"
    airflow.wait_for_dag(dag_id)
    airflow.api.unpause(dag_id)
    run_id = airflow.api.trigger(dag_id)
    airflow.api.wait_run(dag_id, run_id, timeout=300)
    events = airflow.api.get(f"/assets/events?source_dag_id={dag_id}&limit=100")["asset_events"]
    suffix = f"_{request.param}"
    return {
        "extras": {event["name"].removesuffix(suffix): event["extra"] for event in events},
        "jobs": {
            task_id: airflow.api.xcom(dag_id, run_id, task_id, "job_id")
            for task_id in ("action", "submit")
        },
        "pages": {
            task_id: airflow.api.xcom(dag_id, run_id, task_id, "dashboard_url")
            for task_id in ("action", "submit")
        },
    }


def test_event_tells_of_the_job(made: dict[str, Any]) -> None:
    """Who reads the asset's event finds the job, how it ended and what it ran."""
    extra = made["extras"]["talk"]

    assert extra["job_id"] == made["jobs"]["action"]
    assert extra["dashboard_url"] == made["pages"]["action"]
    assert extra["dashboard_url"].startswith(extra["cluster"])
    assert (extra["status"], extra["action"], extra["plugin"]) == ("SUCCEEDED", "talk", "loud 1.0")
    assert 0 < extra["duration"] < 300


def test_job_that_nobody_waited_for_is_told_of_twice(made: dict[str, Any]) -> None:
    """By the task that submitted it, and by the sensor that saw it end."""
    submitted, seen = made["extras"]["submitted"], made["extras"]["seen"]

    assert submitted["job_id"] == seen["job_id"] == made["jobs"]["submit"]
    assert (submitted["status"], seen["status"]) == ("PENDING", "SUCCEEDED")
    assert "duration" not in submitted
    assert seen["duration"] > 1


def test_failed_job_made_nothing(made: dict[str, Any]) -> None:
    """There is no event of the asset that a failed task would have made."""
    assert set(made["extras"]) == {"talk", "submitted", "seen"}


def test_events_hold_no_secret(made: dict[str, Any]) -> None:
    """Nothing of the job's environment is in an event."""
    assert "planted" not in json.dumps(made["extras"])


def test_dag_that_waits_for_an_asset_learns_which_job_made_it(airflow: AirflowDeployment) -> None:
    """The run that the asset's event started has the id of the job that made the asset."""
    for dag_id in ("asset_event", "asset_event_publish"):
        airflow.wait_for_dag(dag_id)
        airflow.api.unpause(dag_id)
    run_id = airflow.api.trigger("asset_event")
    airflow.api.wait_run("asset_event", run_id, timeout=300)

    deadline = time.monotonic() + 60
    while not (runs := airflow.api.get("/dags/asset_event_publish/dagRuns")["dag_runs"]):
        assert time.monotonic() < deadline
        time.sleep(0.5)
    published = runs[-1]["dag_run_id"]

    assert airflow.api.wait_run("asset_event_publish", published, timeout=120) == "success"
    told = airflow.api.xcom("asset_event_publish", published, "publish", "return_value")
    assert told == airflow.api.xcom("asset_event", run_id, "train", "job_id")
