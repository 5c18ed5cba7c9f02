"""``airflow ray reap``."""

from __future__ import annotations

import json

import pytest
from sqlalchemy.exc import OperationalError

from airflow_synapse.cli import exits, reap
from tests.collecting.airflow_states import HERE, Airflow, a_task, add_job
from tests.support.stub_jobs import NEVER

TRAIN = a_task("train", 2)


@pytest.fixture
def database(monkeypatch) -> Airflow:
    """What Airflow's database says about tasks."""
    monkeypatch.setenv("AIRFLOW__RAY__DEPLOYMENT", HERE)
    monkeypatch.setenv("AIRFLOW__RAY__COLLECT_INTERVAL", "0.05")
    monkeypatch.setenv("AIRFLOW__RAY__COLLECT_GONE_AFTER", "0.1")
    airflow = Airflow()
    monkeypatch.setattr(reap, "ask_database", airflow.ask_at_once)
    return airflow


def ids(told) -> list[str]:
    return [row["job_id"] for row in json.loads(told.out)]


def test_dry_run_shows_and_stops_nothing(airflow_cli, stub, database) -> None:
    """The jobs go to standard output, with the state of their task."""
    job = add_job(stub, "j", TRAIN)
    add_job(stub, "wanted", a_task("wanted"))
    database.states = {TRAIN: "failed", a_task("wanted"): None}

    told = airflow_cli("ray", "reap", "--dry-run", "-o", "json")

    assert json.loads(told.out) == [
        {"job_id": "j", "airflow_task": "dag.train[2] of run run", "state": "failed"}
    ]
    assert (told.code, job.status) == (0, "RUNNING")
    assert "1 job would be stopped if later looks agree" in told.err


def test_jobs_that_nobody_wants_are_stopped(airflow_cli, stub, database) -> None:
    """Those of a task that is over, and those whose task was deleted."""
    wanted = add_job(stub, "wanted", a_task("wanted"))
    add_job(stub, "over", TRAIN)
    add_job(stub, "gone", a_task("gone"))
    database.states = {TRAIN: "success", a_task("wanted"): "up_for_retry"}

    told = airflow_cli("ray", "reap", "-o", "json")

    assert (told.code, sorted(ids(told)), wanted.status) == (0, ["gone", "over"], "RUNNING")
    assert stub.jobs["over"].status == stub.jobs["gone"].status == "STOPPED"
    assert "2 jobs stopped." in told.err


def test_nothing_to_stop_is_told(airflow_cli, stub, database) -> None:
    """That is no failure."""
    told = airflow_cli("ray", "reap", "-o", "json")

    assert (told.code, told.out) == (0, "[]\n")
    assert "No job was found that nobody wants any more." in told.err


def test_job_that_can_t_be_stopped_is_named(airflow_cli, stub, database, monkeypatch) -> None:
    """The exit code is that of ``airflow ray stop``."""
    connection = {"conn_type": "ray", "host": stub.url, "extra": {"request_timeout": 1}}
    monkeypatch.setenv("AIRFLOW_CONN_RAY_DEFAULT", json.dumps(connection))
    add_job(stub, "stuck", TRAIN, pending=NEVER, stop_delay=NEVER)
    database.states = {TRAIN: "failed"}

    told = airflow_cli("ray", "reap", "-o", "json")

    assert (told.code, ids(told)) == (exits.TIMEOUT, [])
    assert "Ray job stuck on ray_default could not be stopped" in told.err


def test_many_gone_tasks_need_force(airflow_cli, stub, database) -> None:
    """The refusal names the command that stops their jobs all the same, and that does."""
    for index in range(11):
        add_job(stub, f"job-{index}", a_task("train", index))

    refused = airflow_cli("ray", "reap", "-o", "json")
    forced = airflow_cli("ray", "reap", "--force", "-o", "json")

    assert (refused.code, ids(refused)) == (exits.BAD_INPUT, [])
    assert "`airflow ray reap --force`" in refused.err
    assert (forced.code, len(ids(forced))) == (0, 11)


def test_airflow_without_a_name_is_refused(airflow_cli, stub, database, monkeypatch) -> None:
    """Its jobs could be another Airflow's."""
    monkeypatch.setenv("AIRFLOW__RAY__DEPLOYMENT", "")
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "http://localhost:8080")

    told = airflow_cli("ray", "reap")

    assert (told.code, told.out) == (exits.BAD_INPUT, "")
    assert "Set [ray] deployment or [api] base_url" in told.err


def test_database_that_can_t_be_read_is_told(airflow_cli, stub, database) -> None:
    """In a sentence, and no job is stopped."""
    job = add_job(stub, "j", TRAIN)
    database.error = OperationalError("select", {}, OSError("no such host"))

    told = airflow_cli("ray", "reap")

    assert (told.code, job.status) == (exits.UNEXPECTED, "RUNNING")
    assert "Airflow's database can't be read, so no job was stopped: no such host." in told.err
