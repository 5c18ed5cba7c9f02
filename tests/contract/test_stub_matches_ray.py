"""What the stub dashboard claims about Ray's jobs is true of a real Ray."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.support.raw_dashboard import ENDED, Dashboard
from tests.support.stub_jobs import NEVER

DETAILS = {
    "type",
    "job_id",
    "submission_id",
    "driver_info",
    "status",
    "entrypoint",
    "message",
    "error_type",
    "start_time",
    "end_time",
    "metadata",
    "runtime_env",
    "driver_agent_http_address",
    "driver_node_id",
    "driver_exit_code",
}

pytestmark = pytest.mark.timeout(180)


def test_version(dashboard: Dashboard) -> None:
    """The version route tells Ray's version as text."""
    answer = dashboard.ask("GET", "/api/version")

    assert answer.status == 200
    assert set(answer.json) == {"version", "ray_version", "ray_commit", "session_name"}
    assert isinstance(answer.json["ray_version"], str)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/jobs/nobody"),
        ("POST", "/api/jobs/nobody/stop"),
        ("DELETE", "/api/jobs/nobody"),
    ],
)
def test_an_unknown_job(dashboard: Dashboard, method: str, path: str) -> None:
    """Whatever is asked of an unknown job, the answer is 404 and names it in plain text."""
    answer = dashboard.ask(method, path)

    assert (answer.status, answer.text) == (404, "Job nobody does not exist")


def test_the_details_of_a_job_that_succeeded(
    dashboard: Dashboard, succeeded: dict[str, Any]
) -> None:
    """A job that SUCCEEDED has exit code 0, a node, an agent and what it was submitted with."""
    assert set(succeeded) == DETAILS
    assert succeeded["type"] == "SUBMISSION"
    assert succeeded["status"] == "SUCCEEDED"
    assert succeeded["message"] == "Job finished successfully."
    assert succeeded["error_type"] is None
    assert succeeded["driver_exit_code"] == 0
    assert succeeded["job_id"] is None
    assert succeeded["metadata"] == {"who": "me"}
    assert succeeded["runtime_env"] == {"env_vars": {"NAME": "value"}}
    assert succeeded["end_time"] >= succeeded["start_time"] > 1_600_000_000_000
    assert len(succeeded["driver_node_id"]) == 56
    assert succeeded["driver_agent_http_address"].startswith("http://")


def test_the_list_of_jobs(dashboard: Dashboard, succeeded: dict[str, Any]) -> None:
    """The list holds the same details as a job's own route."""
    rows = dashboard.ask("GET", "/api/jobs/").json

    assert succeeded in rows


def test_an_id_that_is_used(dashboard: Dashboard, succeeded: dict[str, Any]) -> None:
    """A used id is refused with 500 and a traceback that quotes the agent's 400."""
    body = {"entrypoint": "true", "submission_id": succeeded["submission_id"]}
    answer = dashboard.ask("POST", "/api/jobs/", body=body)

    assert answer.status == 500
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert "Request failed with status code 400" in answer.text
    assert (
        f"ValueError: Job with submission_id {succeeded['submission_id']} already exists. "
        "Please use a different submission_id." in answer.text
    )


def test_an_id_that_ray_makes(dashboard: Dashboard) -> None:
    """A job without an id gets one, told under both names."""
    answer = dashboard.ask("POST", "/api/jobs/", body={"entrypoint": "true"})

    assert answer.status == 200
    assert answer.json["job_id"] == answer.json["submission_id"]
    assert answer.json["submission_id"].startswith("raysubmit_")


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"submission_id": "x"}, "missing 1 required positional argument: 'entrypoint'"),
        ({"entrypoint": 1}, "entrypoint must be a string, got <class 'int'>"),
        ({"entrypoint": "true", "odd": 1}, "got an unexpected keyword argument 'odd'"),
        ({"entrypoint": "true", "metadata": {"a": 1}}, "metadata values must be strings"),
    ],
)
def test_a_request_that_is_not_one(dashboard: Dashboard, body: dict[str, Any], told: str) -> None:
    """A malformed submission is refused with 400 and a traceback."""
    answer = dashboard.ask("POST", "/api/jobs/", body=body)

    assert answer.status == 400
    assert answer.text.startswith("Traceback")
    assert told in answer.text.splitlines()[-1]


@pytest.mark.parametrize("bad_id", ["with/slash", "n" * 300])
def test_an_id_that_ray_cannot_take(dashboard: Dashboard, bad_id: str) -> None:
    """An id that can't be a file name is answered with 500 and leaves a record that stays PENDING."""
    body = {"entrypoint": "true", "submission_id": bad_id}
    answer = dashboard.ask("POST", "/api/jobs/", body=body)

    assert answer.status == 500
    left = dashboard.ask("GET", f"/api/jobs/{bad_id.replace('/', '%2F')}")
    assert left.json["status"] == "PENDING"


def test_a_job_that_fails(dashboard: Dashboard) -> None:
    """A FAILED entrypoint is told with its exit code and the end of its log in the message."""
    job_id = dashboard.submit(
        "sleep 0.3; echo the end; exit 3",
        played={"status": "FAILED", "exit_code": 3, "log": ((0.0, b"the end\n"),)},
    )

    details = dashboard.wait(job_id, ENDED)

    assert details["status"] == "FAILED"
    assert details["error_type"] == "JOB_ENTRYPOINT_COMMAND_ERROR"
    assert details["driver_exit_code"] == 3
    assert details["message"].startswith(
        "Job entrypoint command failed with exit code 3, last available logs "
        "(truncated to 20,000 chars):\n"
    )
    assert details["message"].rstrip().endswith("the end")


def test_stopping_a_running_job(dashboard: Dashboard) -> None:
    """A stop is a request; the STOPPED job has neither error type nor exit code; then it is late."""
    job_id = dashboard.submit("sleep 100", played={"runtime": NEVER, "stop_delay": 0.2})
    running = dashboard.wait(job_id, {"RUNNING"})

    first = dashboard.ask("POST", f"/api/jobs/{job_id}/stop")
    stopped = dashboard.wait(job_id, ENDED)
    # For a moment after its end, while its supervisor goes, Ray still says that it stops the job.
    time.sleep(3)
    second = dashboard.ask("POST", f"/api/jobs/{job_id}/stop")

    assert running["message"] == "Job is currently running."
    assert (first.status, first.json) == (200, {"stopped": True})
    assert stopped["status"] == "STOPPED"
    assert stopped["message"] == "Job was intentionally stopped."
    assert stopped["error_type"] is None
    assert stopped["driver_exit_code"] is None
    assert stopped["driver_node_id"] == running["driver_node_id"]
    assert (second.status, second.json) == (200, {"stopped": False})


def test_a_job_that_no_node_takes(dashboard: Dashboard) -> None:
    """An unschedulable job is said to be stopped and stays PENDING; it can't be deleted."""
    job_id = dashboard.submit(
        "true", played={"pending": NEVER, "stop_delay": NEVER}, entrypoint_num_cpus=1000
    )

    stop = dashboard.ask("POST", f"/api/jobs/{job_id}/stop")
    time.sleep(1)
    details = dashboard.details(job_id)
    delete = dashboard.ask("DELETE", f"/api/jobs/{job_id}")

    assert stop.json == {"stopped": True}
    assert details["status"] == "PENDING"
    assert details["message"].startswith("Job has not started yet.")
    assert details["end_time"] is None
    assert details["driver_node_id"] is None
    assert details["driver_agent_http_address"] is None
    assert delete.status == 500
    assert f"Attempted to delete job '{job_id}', but it is in a non-terminal state PENDING." in (
        delete.text
    )


def test_deleting_an_ended_job(dashboard: Dashboard) -> None:
    """A deleted job is unknown, and its log stays behind."""
    job_id = dashboard.submit("echo here", played={"log": ((0.0, b"here\n"),)})
    details = dashboard.wait(job_id, ENDED)
    # Ray notes a job that is deleted within a second of its end anew, as FAILED.
    time.sleep(2)

    deleted = dashboard.ask("DELETE", f"/api/jobs/{job_id}")

    assert (deleted.status, deleted.json) == (200, {"deleted": True})
    assert dashboard.ask("GET", f"/api/jobs/{job_id}").status == 404
    assert b"here\n" in dashboard.ask("GET", dashboard.log_path(details)).body


def test_a_job_whose_runtime_env_fails(dashboard: Dashboard) -> None:
    """Without its package a job FAILED on no node, and only its message tells why."""
    missing = "gcs://_ray_pkg_00000000deadbeef.zip"
    job_id = dashboard.submit("true", runtime_env={"working_dir": missing})

    details = dashboard.wait(job_id, ENDED)

    assert details["status"] == "FAILED"
    assert details["error_type"] == "RUNTIME_ENV_SETUP_FAILURE"
    assert details["message"].startswith("runtime_env setup failed")
    assert missing in details["message"]
    assert details["driver_exit_code"] is None
    assert details["driver_node_id"] is None


def test_packages(dashboard: Dashboard) -> None:
    """A package is 404 until it has been put."""
    name = f"_ray_pkg_{time.time_ns():016x}.zip"
    path = f"/api/packages/gcs/{name}"

    before = dashboard.ask("GET", path)
    put = dashboard.ask("PUT", path, body=b"PK\x05\x06" + b"\0" * 18)
    after = dashboard.ask("GET", path)

    assert (before.status, before.text) == (404, f"Package gcs://{name} does not exist")
    assert (put.status, put.body) == (200, b"")
    assert (after.status, after.body) == (200, b"")
