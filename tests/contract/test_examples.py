"""The example without Airflow, on a real Ray."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from airflow_synapse.rayjobs import RayJobExecutor
from local_services.ray_head import RayHead

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_script_shows_log_and_result(ray_head: RayHead) -> None:
    """It prints the job's lines while they come, then what the action returned."""
    script = EXAMPLES / "without_airflow.py"

    done = subprocess.run(
        [sys.executable, script, ray_head.dashboard_url],
        capture_output=True, text=True, timeout=90, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-2:] == ["Hello Ray", "{'greeted': 'Ray'}"]


def test_tasks_of_the_example_report(ray_head: RayHead) -> None:
    """What its Ray tasks report is in the job's report, and what it logs is in the log."""
    executor = RayJobExecutor(ray_head.dashboard_url, working_dir=EXAMPLES / "fan_out")
    job_id = executor.submit("search", {"rates": [0.1, 0.5]})

    executor.wait(job_id, timeout_seconds=90)

    report = executor.get_report(job_id)
    assert executor.get_result(job_id) == {"best": 0.5}
    assert report.metrics["error at 0.5"] == [(i, 0.5 ** (i + 1)) for i in range(5)]
    assert [message.text for message in report.messages] == ["rate 0.5 is the best"]
    assert "INFO:search:trying 2 rates\n" in executor.get_logs(job_id)


def test_report_of_the_example_is_shown(ray_head: RayHead) -> None:
    """Progress, metrics, files and messages."""
    executor = RayJobExecutor(ray_head.dashboard_url, working_dir=EXAMPLES / "ripeness")
    job_id = executor.submit("train", {"epochs": 20})
    executor.wait(job_id, timeout_seconds=90)

    done = subprocess.run(
        [sys.executable, EXAMPLES / "read_report.py", ray_head.dashboard_url, job_id],
        capture_output=True, text=True, timeout=90, check=False,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[:2] == ["done: 20 of 20", "loss: (20, 0)"]
    assert done.stdout.splitlines()[2].startswith("threshold.txt: b'1")
