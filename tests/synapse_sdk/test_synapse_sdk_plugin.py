"""A plugin made by synapse-sdk's own generator runs as it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from airflow_synapse.rayjobs import Progress, RayJobExecutor
from local_services.ray_head import RayHead

pytest.importorskip("synapse_sdk", reason="needs Python 3.12 and synapse-sdk: tox -e synapse-sdk")

MANIFEST = """
name: Greeter
code: greeter
version: 0.1.0
category: custom
package_manager: pip
actions:
  greet:
    entrypoint: plugin.greet.GreetAction
    method: job
  report:
    entrypoint: plugin.greet.ReportingAction
    method: job
"""

ACTION = """
import pickle

from pydantic import BaseModel
from synapse_sdk.loggers import ConsoleLogger
from synapse_sdk.plugins.action import BaseAction


class GreetParams(BaseModel):
    name: str
    times: int = 1


class GreetAction(BaseAction[GreetParams]):
    def execute(self):
        return {"greeting": f"Hello {self.params.name}! " * self.params.times}


class ReportingAction(BaseAction[GreetParams]):
    def execute(self):
        with open("picture.png", "wb") as file:
            file.write(b"picture")
        logger = pickle.loads(pickle.dumps(self.ctx.logger))
        self.ctx.set_progress(1, 3, "train")
        self.ctx.set_progress(2, 3, "train")
        self.ctx.set_metrics({"loss": 0.5, "note": "not a number"}, "train")
        self.log_metric("val", "loss", 0.25, accuracy=1)
        self.log_visualization("val", "a/b", 0, "picture.png")
        self.ctx.logger.info("half of it")
        self.ctx.logger.log_message("all of it")
        return {"pickled": type(logger) is ConsoleLogger, "is": isinstance(self.ctx.logger, ConsoleLogger)}
"""


@pytest.fixture
def executor(tmp_path: Path, ray_head: RayHead) -> RayJobExecutor:
    """An executor for a plugin whose action is a class of synapse-sdk."""
    (tmp_path / "plugin").mkdir()
    (tmp_path / "plugin" / "__init__.py").touch()
    (tmp_path / "plugin" / "greet.py").write_text(ACTION)
    (tmp_path / "config.yaml").write_text(MANIFEST)
    return RayJobExecutor(ray_head.dashboard_url, working_dir=tmp_path)


def test_base_action_runs_with_its_params(executor: RayJobExecutor) -> None:
    """A BaseAction gets its params, and what it returns is the job's result."""
    job_id = executor.submit("greet", {"name": "Ray", "times": 2})

    executor.wait(job_id)

    assert executor.get_result(job_id) == {"greeting": "Hello Ray! Hello Ray! "}
    assert "__SYNAPSE_RESULT_START__" not in executor.get_logs(job_id)


def test_what_its_logger_is_told_is_reported(executor: RayJobExecutor) -> None:
    """From an unchanged plugin, and its logger still prints and pickles as before."""
    job_id = executor.submit("report", {"name": "Ray"})

    executor.wait(job_id)

    report = executor.get_report(job_id)
    assert executor.get_result(job_id) == {"pickled": True, "is": True}
    assert report.progress == {"train": Progress(2, 3)}
    assert report.metrics == {
        "train/loss": [(0, 0.5)],
        "val/loss": [(0, 0.25)],
        "val/accuracy": [(0, 1)],
    }
    assert executor.get_artifact(job_id, "val-a_b-0.png") == b"picture"
    assert [(message.level, message.text) for message in report.messages] == [
        ("info", "half of it"),
        ("info", "all of it"),
    ]
    assert "half of it" in executor.get_logs(job_id)


def test_params_that_its_model_refuses_end_with_code_2(executor: RayJobExecutor) -> None:
    """Params that the action's pydantic model refuses end the job with exit code 2."""
    job_id = executor.submit("greet", {"times": 2})

    with pytest.raises(Exception, match="exit code 2"):
        executor.wait(job_id)
