"""``airflow ray result`` and ``report``."""

from __future__ import annotations

import json

import pytest

from airflow_synapse.cli import exits
from airflow_synapse.rayjobs.job.reports import artifact_file, report_file
from airflow_synapse.rayjobs.job.results import result_file
from tests.support.stub_dashboard import encode

TOKEN = "0123456789abcdef"
REPORT = [
    {"progress": "", "done": 2, "total": 3, "time": 2.0},
    {"metrics": {"loss": 0.5}, "step": 1},
    {"metrics": {"loss": 0.25}, "step": 2},
    {"artifact": "a.txt", "media_type": "text/plain", "size": 3, "time": 1.0, "file": TOKEN},
    {"message": "half way", "level": "warning", "time": 1.5},
]


@pytest.fixture
def job(stub):
    stub.add_job("j", status="SUCCEEDED").request["metadata"] = {"airflow_synapse_action": "train"}
    stub.files[result_file("j")] = encode({"result": {"größe": [1, None]}})
    stub.files[report_file("j")] = b"".join(json.dumps(line).encode() + b"\n" for line in REPORT)
    stub.files[artifact_file("j", TOKEN)] = b"a\xff\n"


def test_result_is_json(airflow_cli, job) -> None:
    """A program can read it."""
    told = airflow_cli("ray", "result", "j")

    assert (told.code, json.loads(told.out)) == (exits.OK, {"größe": [1, None]})


def test_result_of_a_failed_job_is_its_failure(airflow_cli, stub) -> None:
    """The exit code says how the job ended."""
    stub.add_job("bad", status="FAILED")

    assert airflow_cli("ray", "result", "bad").code == exits.FAILED


def test_result_of_a_job_that_still_runs_is_too_early(airflow_cli, stub) -> None:
    """A script can tell it from a job without a result."""
    stub.add_job("early", status="RUNNING")

    assert airflow_cli("ray", "result", "early").code == exits.TIMEOUT


def test_report_shows_the_last_of_everything(airflow_cli, job) -> None:
    """One row for each step, metric, artifact and message."""
    told = airflow_cli("ray", "report", "j", "-o", "plain")

    assert told.code == exits.OK
    assert "2 of 3" in told.out
    assert "0.25 in step 2" in told.out
    assert "half way" in told.out


def test_report_as_json_has_all_values(airflow_cli, job) -> None:
    """The whole series, not only the last."""
    told = json.loads(airflow_cli("ray", "report", "j", "-o", "json").out)

    assert told["metrics"] == {"loss": [[1, 0.5], [2, 0.25]]}
    assert told["artifacts"] == [{"name": "a.txt", "media_type": "text/plain", "size": 3}]


def test_empty_report_says_so(airflow_cli, stub) -> None:
    """Nothing is an answer, too."""
    stub.add_job("quiet", status="RUNNING")

    told = airflow_cli("ray", "report", "quiet")

    assert (told.code, told.out) == (exits.OK, "")
    assert "has reported nothing" in told.err


def test_artifact_is_written_as_it_is(airflow_cli, job) -> None:
    """Byte by byte, for a file or a pipe."""
    told = airflow_cli("ray", "report", "j", "--artifact", "a.txt")

    assert told.out == "a\udcff\n"
