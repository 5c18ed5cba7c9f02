"""A job as Ray runs it, less Ray: the shipped files, a plugin folder, a log as standard output."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from airflow_synapse.plugin.action import RUNTIME_ENTRYPOINT, action_runtime_files, call_document
from airflow_synapse.plugin.params import encode_params

JOB_ID = "dag.task.x-1"


@dataclass(frozen=True)
class EndedJob:
    """What is left of a job."""

    exit_code: int
    log: str
    result_file: Path
    job_id: str = JOB_ID

    @property
    def result(self) -> Any:
        text = self.result_file.read_text(encoding="utf-8")
        return json.loads(text, parse_constant=pytest.fail)["result"]


@dataclass(frozen=True)
class JobMaker:
    folder: Path
    python: str = sys.executable

    def run(
        self,
        code: str = "",
        params: dict[str, Any] | None = None,
        *,
        entrypoint: str = "action:run",
        log_name: str = f"job-driver-{JOB_ID}.log",
        call: bytes | None = None,
        env: dict[str, str] | None = None,
        files: dict[str, str] | None = None,
    ) -> EndedJob:
        plugin, modules, logs = (self.folder / name for name in ("plugin", "modules", "logs"))
        document = call_document(entrypoint, encode_params(params), action_name="train")
        contents = {f"plugin/{name}": text.encode() for name, text in (files or {}).items()}
        contents["plugin/action.py"] = code.encode()
        for name, data in action_runtime_files(call or document).items():
            contents[f"modules/{name}"] = data
        for name, data in contents.items():
            (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / name).write_bytes(data)
        logs.mkdir(exist_ok=True)
        log = logs / log_name
        with log.open("ab") as stdout:
            done = subprocess.run(
                [self.python, *RUNTIME_ENTRYPOINT.split()[1:]],
                cwd=plugin,
                stdout=stdout,
                stderr=subprocess.STDOUT,
                env={
                    "PATH": os.environ["PATH"],
                    "PYTHONPATH": str(modules),
                    "PYTHONUNBUFFERED": "1",
                    **(env or {}),
                },
                check=False,
                timeout=60,
            )
        result_file = logs / f"airflow-synapse-result-{JOB_ID}.json"
        return EndedJob(done.returncode, log.read_text(encoding="utf-8"), result_file)


@pytest.fixture
def run_job(tmp_path: Path) -> Callable[..., EndedJob]:
    """Run a job on this Python."""
    return JobMaker(tmp_path).run


@pytest.fixture
def run_job_on_python39(tmp_path: Path) -> Callable[..., EndedJob]:
    """Run a job on Python 3.9, if there is one."""
    installed = sorted(Path.home().glob(".pyenv/versions/3.9.*/bin/python"))
    candidates = [shutil.which("python3.9"), *map(str, installed)]
    python = next((found for found in candidates if found and _is_python39(found)), None)
    if python is None:
        pytest.skip("no Python 3.9 on this machine")
    return JobMaker(tmp_path, python).run


def _is_python39(python: str) -> bool:
    code = "import sys; sys.exit(sys.version_info[:2] != (3, 9))"
    done = subprocess.run([python, "-c", code], capture_output=True, check=False)
    return done.returncode == 0
