"""Runs a plugin's action as a Ray job without Airflow: ``python without_airflow.py [URL]``."""

from __future__ import annotations

import sys
from pathlib import Path

from airflow_synapse.rayjobs import RayJobExecutor

DASHBOARD_URL = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8265"
PLUGIN = Path(__file__).parents[1] / "dags_examples" / "plugins" / "hello"

# [start executor]
executor = RayJobExecutor(DASHBOARD_URL, working_dir=PLUGIN, num_cpus=0.1)
job_id = executor.submit("greet", {"name": "Ray"})
for line in executor.stream_logs(job_id):
    print(line)
print(executor.get_result(job_id))
# [end executor]
