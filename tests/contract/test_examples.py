"""The example without Airflow, on a real Ray."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

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
