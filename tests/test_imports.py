"""What a DAG file loads that imports our operators and sensors."""

from __future__ import annotations

import json
import subprocess
import sys

MODULES = {
    "airflow_synapse.operators.plugin_action",
    "airflow_synapse.operators.ray_job",
    "airflow_synapse.sensors.ray_job",
}
HEAVY = {"ray", "aiohttp", "requests", "jsonschema", "airflow_synapse.rayjobs.client.dashboard"}

_SCRIPT = f"""
import json, sys
import airflow.sdk
from airflow.sdk import BaseHook, BaseOperator, BaseOperatorLink, BaseSensorOperator
before = set(sys.modules)
import {", ".join(sorted(MODULES))}
print(json.dumps(sorted(set(sys.modules) - before)))
"""


def test_dag_parsing_loads_no_client() -> None:
    """Importing operators and sensors loads neither ray nor an HTTP client nor our own client."""
    done = subprocess.run([sys.executable, "-c", _SCRIPT], capture_output=True, check=True)

    loaded = set(json.loads(done.stdout.splitlines()[-1]))
    assert loaded >= MODULES
    assert not loaded & HEAVY
