"""What actions report, on a real Ray: while they run, after they were killed, from tasks and actors."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from airflow_synapse.exceptions import RayJobFailedError, RayLogNotFoundError
from airflow_synapse.rayjobs import JobReport, Progress, RayJobExecutor
from local_services.ray_head import RayHead

pytestmark = pytest.mark.timeout(240)

ACTIONS = """
import os, pathlib, time

import ray


def killed(job, go):
    job.progress(1, 3, "epochs")
    job.metrics({"loss": 0.5, "accuracy": float("nan")})
    job.metrics({"loss": 0.25})
    job.artifact("confusion.png", b"picture")
    job.log("half of it", "warning")
    while not pathlib.Path(go).exists():
        time.sleep(0.05)
    job.progress(2, 3, "epochs")
    os.kill(os.getpid(), 9)


@ray.remote
class Actor:
    def __init__(self, job):
        self.job = job

    def report(self, n):
        for i in range(n):
            self.job.metrics({"actor": i})
        self.job.artifact("of_the_actor.bin", b"x" * 1_000_000)

    def leave(self):
        self.job.log("last words")
        os._exit(0)


@ray.remote
def nested(job):
    job.progress(1, 1, "nested")
    job.metrics({"bad": "no number"})
    return str(job.airflow)


@ray.remote
def task(job, n):
    for i in range(n):
        job.metrics({"task": i}, step=i)
    return ray.get(nested.remote(job))


def fan_out(job, n):
    actor = Actor.remote(job)
    told = ray.get([task.remote(job, n), actor.report.remote(n)])
    try:
        ray.get(actor.leave.remote())
    except ray.exceptions.RayActorError:
        pass
    job.progress(n, n)
    return told[0]


def flood(job, n):
    for i in range(n):
        job.metrics({"loss": i})
        job.progress(i + 1, n)
        job.log(str(i))
    job.artifact("large.bin", b"x" * 50_000_000)


def silent(job):
    return job.storage_path


def param_named_job(job):
    return job
"""


@pytest.fixture
def executor(ray_head: RayHead, tmp_path: Path) -> RayJobExecutor:
    """An executor for the actions above."""
    (tmp_path / "actions.py").write_text(ACTIONS)
    (tmp_path / "config.yaml").write_text("name: reporting\n")
    return RayJobExecutor(ray_head.dashboard_url, working_dir=tmp_path)


def test_report_is_there_while_the_action_runs_and_after_a_kill(
    executor: RayJobExecutor, tmp_path: Path
) -> None:
    """Each report is in the file at once, so that not even SIGKILL loses one."""
    go = tmp_path / "go"
    job_id = executor.submit("actions:killed", {"go": str(go)})

    while not (report := executor.get_report(job_id)).messages:
        time.sleep(0.1)
    assert report.progress == {"epochs": Progress(1, 3)}
    go.touch()
    with pytest.raises(RayJobFailedError):
        executor.wait(job_id)

    report = executor.get_report(job_id)
    assert report.progress == {"epochs": Progress(2, 3)}
    assert report.metrics["loss"] == [(0, 0.5), (1, 0.25)]
    assert [(step, str(value)) for step, value in report.metrics["accuracy"]] == [(0, "nan")]
    assert [(a.name, a.media_type, a.size) for a in report.artifacts] == [
        ("confusion.png", "image/png", 7)
    ]
    assert [(message.level, message.text) for message in report.messages] == [
        ("warning", "half of it")
    ]
    assert executor.get_artifact(job_id, "confusion.png") == b"picture"
    with pytest.raises(RayLogNotFoundError, match="no artifact 'other"):
        executor.get_artifact(job_id, "other.png")


def test_tasks_and_actors_report_to_the_driver(executor: RayJobExecutor) -> None:
    """They need no module of ours, and what they reported is there even if their process ends at once."""
    job_id = executor.submit("actions:fan_out", {"n": 500})

    executor.wait(job_id, timeout_seconds=120)

    assert executor.get_result(job_id) == "None"
    report = executor.get_report(job_id)
    assert report.metrics["task"] == [(i, i) for i in range(500)]
    assert report.metrics["actor"] == [(i, i) for i in range(500)]
    assert report.progress == {"nested": Progress(1, 1), "": Progress(500, 500)}
    assert len(executor.get_artifact(job_id, "of_the_actor.bin")) == 1_000_000
    assert [message.text for message in report.messages] == [
        "A report was left out: metric 'bad' must be a number, not a str",
        "last words",
    ]
    assert "airflow-synapse" not in executor.get_logs(job_id)


def test_flood_of_reports_is_bounded(executor: RayJobExecutor) -> None:
    """What was left out is said, and all that counts is there."""
    job_id = executor.submit("actions:flood", {"n": 20_000})

    executor.wait(job_id, timeout_seconds=120)

    report = executor.get_report(job_id)
    assert report.progress == {"": Progress(20_000, 20_000)}
    assert report.metrics["loss"] == [(i, i) for i in range(20_000)]
    assert len(report.messages) == 10_001
    assert report.messages[-1].text == "From here on messages are left out, after 10000."
    assert executor.get_artifact(job_id, "large.bin") == b"x" * 50_000_000


def test_job_that_reports_nothing_has_an_empty_report(executor: RayJobExecutor) -> None:
    """So has one whose params have a key of the context's name."""
    silent = executor.submit("actions:silent")
    named = executor.submit("actions:param_named_job", {"job": "mine"})
    for job_id in (silent, named):
        executor.wait(job_id)

    assert executor.get_result(silent) is None
    assert executor.get_result(named) == "mine"
    assert executor.get_report(silent) == executor.get_report(named) == JobReport()
