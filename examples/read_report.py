"""Shows what a job has reported: ``python read_report.py URL JOB_ID``."""

from __future__ import annotations

import sys

from airflow_synapse.rayjobs import RayJobExecutor

dashboard_url, job_id = sys.argv[1:]

# [start report]
executor = RayJobExecutor(dashboard_url)
report = executor.get_report(job_id)
for step, progress in report.progress.items():
    print(f"{step or 'done'}: {progress.done} of {progress.total}")
for name, values in report.metrics.items():
    print(f"{name}: {values[-1]}")  # a step and its value
for artifact in report.artifacts:
    print(f"{artifact.name}: {executor.get_artifact(job_id, artifact.name)!r}")
for message in report.messages:
    print(f"{message.level}: {message.text}")
# [end report]
