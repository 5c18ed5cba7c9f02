"""Runs decorated functions, and tells what was sent for them."""

from __future__ import annotations

import io
import json
import zipfile
from typing import Any

from airflow.sdk import DAG

from airflow_synapse.decorators.ray import RayDecoratedOperator
from tests.operators.task_instance import TaskInstance
from tests.support.stub_dashboard import StubDashboard


def operator(function: Any, *args: Any, **kwargs: Any) -> RayDecoratedOperator:
    """Return the operator that a call of a decorated function makes."""
    with DAG("dag", schedule=None):
        return function(*args, **kwargs).operator


def execute(decorated: RayDecoratedOperator, ti: TaskInstance, **context: Any) -> Any:
    decorated.poll_interval = 0.05
    return decorated.execute({"ti": ti, **context})


def sent(stub: StubDashboard) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Return the call that the only job was sent with, and all files beside it."""
    (job,) = stub.jobs.values()
    uri = job.request["runtime_env"]["py_modules"][0]
    with zipfile.ZipFile(io.BytesIO(stub.packages[uri])) as package:
        files = {name: package.read(name) for name in package.namelist()}
    call = next(data for name, data in files.items() if name.endswith("call.json"))
    return json.loads(call), files
