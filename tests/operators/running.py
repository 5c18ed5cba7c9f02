"""What tests of the operators do again and again."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from airflow_synapse.operators.base import RayJobOperator
from airflow_synapse.operators.plugin_action import SubmitPluginActionOperator
from airflow_synapse.operators.ray_job import SubmitRayJobOperator
from airflow_synapse.version_compat import TaskDeferred
from tests.operators.task_instance import TaskInstance

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator


def a_command(**given: Any) -> SubmitRayJobOperator:
    given = {"task_id": "task", "entrypoint": "true", "poll_interval": 0.05, **given}
    return SubmitRayJobOperator(**given)


def an_action(plugin: Path, **given: Any) -> SubmitPluginActionOperator:
    """Return an operator that runs the action of the fixture ``plugin``."""
    given = {"task_id": "task", "action_name": "run", "poll_interval": 0.05, **given}
    return SubmitPluginActionOperator(working_dir=plugin, **given)


def run(operator: BaseOperator, ti: TaskInstance) -> Any:
    return operator.execute({"ti": ti})  # type: ignore[typeddict-item]


def deferred(operator: RayJobOperator, ti: TaskInstance) -> TaskDeferred:
    """Run the operator until it defers."""
    with pytest.raises(TaskDeferred) as caught:
        run(operator, ti)
    return caught.value


def runtime_env_of(request: dict[str, Any]) -> dict[str, Any]:
    """Return what a job was submitted with, less the variables that every job of a task gets."""
    runtime_env = dict(request["runtime_env"])
    env_vars = runtime_env.pop("env_vars", {})
    own = {name: value for name, value in env_vars.items() if not name.startswith("AIRFLOW_CTX_")}
    return {**runtime_env, "env_vars": own} if own else runtime_env


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]
