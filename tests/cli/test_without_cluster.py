"""``airflow ray validate`` and ``airflow ray submit --local``, which need no cluster."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from airflow_synapse.cli import exits


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    (tmp_path / "config.yaml").write_text(
        "name: p\nactions: {run: {entrypoint: 'm:run'}, bad: {entrypoint: 'm:bad'}}\n"
    )
    (tmp_path / "m.py").write_text(
        "def run(n, job):\n    print('line')\n    job.metrics({'loss': 0.5})\n    return n + 1\n"
        "def bad():\n    raise SystemExit(7)\n"
    )
    return tmp_path


def test_local_job_shows_its_log_and_its_result(airflow_cli, plugin: Path) -> None:
    """The log goes to standard output, all else to standard error."""
    words = ["ray", "submit", "--local", "--working-dir", str(plugin)]

    ended = airflow_cli(*words, "run", "--params", '{"n": 1}')

    assert (ended.code, ended.out) == (exits.OK, "line\n")
    assert "Its result: 2" in ended.err
    assert "Metric loss: 0.5 in step 0" in ended.err


def test_local_job_that_fails_exits_as_on_a_cluster(airflow_cli, plugin: Path) -> None:
    """The exit code is that of a job that FAILED."""
    ended = airflow_cli("ray", "submit", "--local", "--working-dir", str(plugin), "bad")

    assert ended.code == exits.FAILED
    assert "exit code 7" in ended.err


def test_local_command_runs(airflow_cli) -> None:
    """A command after -- needs no plugin."""
    ended = airflow_cli("ray", "submit", "--local", "--", "echo hello; exit 3")

    assert (ended.code, ended.out) == (exits.FAILED, "hello\n")


def test_job_id_makes_no_sense_here(airflow_cli) -> None:
    """There is no cluster that would know it."""
    ended = airflow_cli("ray", "submit", "--local", "--job-id", "j", "--", "true")

    assert ended.code == exits.BAD_INPUT


def test_validate_shows_each_step(airflow_cli, plugin: Path) -> None:
    """A good plugin exits with 0."""
    ended = airflow_cli("ray", "validate", str(plugin), "-o", "json")

    steps = {row["step"]: row["verdict"] for row in json.loads(ended.out)}
    assert ended.code == exits.OK
    assert steps["action run"] == "ok"


def test_validate_lists_files(airflow_cli, plugin: Path) -> None:
    """What would be sent can be listed."""
    ended = airflow_cli("ray", "validate", str(plugin), "--files", "-o", "json")

    assert [row["file"] for row in json.loads(ended.out)] == ["config.yaml", "m.py"]


def test_validate_of_a_bad_plugin_is_bad_input(airflow_cli, plugin: Path) -> None:
    """A function that is not there is found."""
    (plugin / "m.py").write_text("")

    ended = airflow_cli("ray", "validate", str(plugin))

    assert ended.code == exits.BAD_INPUT
    assert "m.py defines no run" in ended.out
