"""What a DAG file loads that imports our operators."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

_SCRIPT = """
import json, sys
import airflow.sdk
from airflow.sdk import BaseHook, BaseOperator, BaseOperatorLink, BaseSensorOperator
before = set(sys.modules)
import {module}
print(json.dumps(sorted(set(sys.modules) - before)))
"""


@pytest.mark.parametrize(
    "module",
    [
        "airflow_synapse.operators.plugin_action",
        "airflow_synapse.operators.ray_job",
        "airflow_synapse.sensors.ray_job",
    ],
)
def test_dag_parsing_loads_no_client(module: str) -> None:
    """Importing an operator or sensor loads neither ray nor an HTTP client nor our own client."""
    script = _SCRIPT.format(module=module)

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)

    loaded = set(json.loads(done.stdout.splitlines()[-1]))
    heavy = {"ray", "aiohttp", "requests", "jsonschema", "airflow_synapse.rayjobs.client"}
    assert module in loaded
    assert not loaded & heavy
