"""``airflow ray list``, ``status`` and ``stop``."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys

import pytest
import yaml

from airflow_synapse.cli import exits
from tests.support.stub_jobs import NEVER, StubNode

TASK = {
    "airflow_dag_id": "dag",
    "airflow_run_id": "run",
    "airflow_task_id": "train",
    "airflow_map_index": "2",
    "airflow_try_number": "1",
    "airflow_synapse_action": "train",
    "airflow_synapse_plugin": "digits 1.0",
}


def add(stub, job_id: str, started: int = 0, metadata: dict[str, str] | None = None, **script):
    job = stub.add_job(job_id, **(script or {"runtime": NEVER}))
    job.request["metadata"] = metadata
    job._wall_start += started * 1000
    return job


def ids(told) -> list[str]:
    return [row["job_id"] for row in json.loads(told.out)]


def test_list_is_newest_first_and_filtered(airflow_cli, stub, monkeypatch) -> None:
    """By status, age, number and whose they are."""
    monkeypatch.setenv("AIRFLOW__RAY__DEPLOYMENT", "prod")
    add(stub, "old", -7200, {"airflow_deployment": "prod"}, status="FAILED")
    add(stub, "new", 0)
    add(stub, "middle", -60, status="SUCCEEDED")

    def listed(*words: str) -> list[str]:
        return ids(airflow_cli("ray", "list", "-o", "json", *words))

    assert listed() == ["new", "middle", "old"]
    assert listed("--status", "running", "--status", "FAILED") == ["new", "old"]
    assert listed("--since", "1h") == listed("--since", "PT1H") == ["new", "middle"]
    assert listed("--own") == ["old"]
    assert listed("--limit", "1") == ["new"]
    assert listed("--limit", "0") == ["new", "middle", "old"]


def test_airflow_without_a_name_has_no_jobs_of_its_own(airflow_cli, stub, monkeypatch) -> None:
    """What a script might stop next may be another nameless Airflow's, so nothing is listed."""
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "")
    add(stub, "nameless", 0, {"airflow_deployment": ""})

    told = airflow_cli("ray", "list", "--own", "-o", "json")

    assert told.code == 2
    assert told.out == ""
    assert "Set [ray] deployment" in told.err


def test_list_tells_what_it_leaves_out(airflow_cli, stub) -> None:
    """A cut list says so on standard error."""
    add(stub, "a")
    add(stub, "b")

    told = airflow_cli("ray", "list", "--limit", "1", "-o", "plain")

    assert "Showing 1 of 2 jobs." in told.err


def test_list_for_people_names_task_and_action(airflow_cli, stub) -> None:
    """A row tells what runs and which task it is for; brackets in it are text."""
    add(stub, "j", 0, TASK)
    stub.add_job("k", "echo [/bold] " + "x" * 100, runtime=NEVER)

    told = airflow_cli("ray", "list")

    assert "digits 1.0: train" in told.out
    assert "dag.train[2], run, try 1" in told.out
    assert "echo [/bold] xxx" in told.out
    assert "x" * 60 not in told.out


@pytest.mark.parametrize(("output", "printed"), [("table", ""), ("plain", ""), ("json", "[]\n")])
def test_empty_list(airflow_cli, stub, output, printed) -> None:
    """Of no jobs a program gets an empty list, and a person a sentence."""
    told = airflow_cli("ray", "list", "-o", output)

    assert (told.code, told.out) == (0, printed)
    assert "No jobs match. The cluster remembers 0 jobs." in told.err


def test_duration_that_is_none_is_refused(airflow_cli, stub) -> None:
    """What is no duration is bad input, and what would be one is told."""
    told = airflow_cli("ray", "list", "--since", "yesterday")

    assert (told.code, "must be a duration such as 90s" in told.err) == (exits.BAD_INPUT, True)


def test_status_tells_all(airflow_cli, stub) -> None:
    """Facts come with their types as JSON and YAML, and as rows for people."""
    add(stub, "j", 0, TASK, status="FAILED", exit_code=3, message="broken [red]")

    told = json.loads(airflow_cli("ray", "status", "j", "-o", "json").out)
    rows = airflow_cli("ray", "status", "j").out

    assert (told["job_id"], told["status"], told["exit_code"]) == ("j", "FAILED", 3)
    assert told["page"] == f"{stub.url}/#/jobs/j"
    assert told["metadata"]["airflow_dag_id"] == "dag"
    assert yaml.safe_load(airflow_cli("ray", "status", "j", "-o", "yaml").out) == told
    assert "broken [red]" in rows


def test_status_explains_why_a_job_waits(airflow_cli, stub) -> None:
    """A job that is PENDING is shown with what it waits for; others have nothing to wait for."""
    stub.nodes = [StubNode(total={"CPU": 16.0}, free={"CPU": 1.0})]
    stub.add_job("j", pending=NEVER).request["entrypoint_num_cpus"] = 4
    stub.add_job("running", runtime=NEVER)

    told = json.loads(airflow_cli("ray", "status", "j", "-o", "json").out)
    rows = airflow_cli("ray", "status", "j").out
    running = json.loads(airflow_cli("ray", "status", "running", "-o", "json").out)

    assert told["waiting"] == "asks for 4 CPU; 1 of 16 are free"
    assert told["waiting"] in rows
    assert running["waiting"] is None


def test_unknown_job_is_told(airflow_cli, stub) -> None:
    """Each command about one job ends with 5 if the cluster does not know it."""
    for command in ("status", "stop", "logs"):
        told = airflow_cli("ray", command, "gone")

        assert (told.code, told.out) == (exits.NOT_FOUND, "")
        assert told.err.startswith(f"Ray job gone on {stub.url} does not exist")


def test_stop_is_confirmed(airflow_cli, stub) -> None:
    """The command returns when the job is seen to be STOPPED."""
    job = add(stub, "j", stop_delay=0.2, runtime=NEVER)

    told = airflow_cli("ray", "stop", "j")

    assert (told.code, job.status, told.out) == (0, "STOPPED", "")
    assert told.err == "Ray job j was stopped.\n"


def test_job_that_had_ended_is_not_stopped(airflow_cli, stub) -> None:
    """That is no failure; how it ended is told."""
    add(stub, "j", status="SUCCEEDED")

    told = airflow_cli("ray", "stop", "j")

    assert (told.code, told.err) == (0, "Ray job j had already ended as SUCCEEDED.\n")


def test_job_that_does_not_stop_is_told(airflow_cli, stub, monkeypatch) -> None:
    """A job that stays what it is after the request: code 9."""
    extra = {"request_timeout": 1}
    connection = {"conn_type": "ray", "host": stub.url, "extra": extra}
    monkeypatch.setenv("AIRFLOW_CONN_RAY_DEFAULT", json.dumps(connection))
    add(stub, "j", pending=NEVER, stop_delay=NEVER)

    told = airflow_cli("ray", "stop", "j")

    assert (told.code, "is still PENDING after 1 s" in told.err) == (exits.TIMEOUT, True)


@pytest.mark.parametrize("output", ["table", "plain", "json", "yaml"])
def test_reader_of_a_list_may_leave(stub, tmp_path, output) -> None:
    """``airflow ray list | true`` ends as other commands whose reader has left, and says nothing."""
    add(stub, "j")
    script = (
        "from airflow_synapse.cli.jobs import list_jobs\n"
        "from argparse import Namespace\n"
        f"list_jobs(Namespace(status=[], since=None, limit=0, own=False, output={output!r}, "
        "conn_id='ray_default'))\n"
    )
    reader, writer = os.pipe()
    os.close(reader)

    ended = subprocess.run(
        [sys.executable, "-c", script],
        stdout=writer,
        stderr=subprocess.PIPE,
        check=False,
        env={**os.environ, "AIRFLOW_HOME": str(tmp_path)},
    )

    os.close(writer)
    assert ended.returncode == 128 + signal.SIGPIPE
    assert b"Traceback" not in ended.stderr
    assert b"Broken" not in ended.stderr


def test_what_a_cluster_says_has_no_codes_for_terminals(airflow_cli, stub) -> None:
    """Neither in tables nor in errors: they could hide or forge text, or have the terminal type."""
    bad = "x\x1b]0;title\x07\x1b[2J\x9b31m\x08\r"
    stub.add_job(f"j{bad}", status="FAILED", message=f"broken {bad}", exit_code=1)
    stub.jobs[f"j{bad}"].request["entrypoint"] = bad
    stub.jobs[f"j{bad}"].request["metadata"] = {bad: bad}

    for words in (("list",), ("status", f"j{bad}"), ("logs", "-f", f"j{bad}"), ("stop", f"k{bad}")):
        told = airflow_cli("ray", *words)
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", told.err), words
        if words[0] != "logs":
            assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", told.out), words
