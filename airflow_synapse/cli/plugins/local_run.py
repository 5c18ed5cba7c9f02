"""``airflow ray submit --local``: runs the job in a process of this machine."""

from __future__ import annotations

import json
import sys

from airflow_synapse.cli import exits
from airflow_synapse.cli.exits import tell
from airflow_synapse.exceptions import LocalRunFailedError
from airflow_synapse.local.running import LocalRun, run_locally
from airflow_synapse.rayjobs.packing.preparation import PreparedJob


def run_here(job: PreparedJob, *, name: str) -> int:
    """Run the job, print its log, and return the exit code for how it ended.

    :param name: What it runs.
    """
    try:
        run = run_locally(job, name=name, show=_show)
    except LocalRunFailedError as exc:
        tell(exc.verdict())
        return exits.FAILED
    except KeyboardInterrupt:
        tell(f"\nInterrupted. {name} was stopped.")
        return exits.INTERRUPTED
    _tell_what_it_left(run, name)
    return exits.OK


def _show(text: bytes) -> None:
    sys.stdout.buffer.write(text)
    sys.stdout.buffer.flush()


def _tell_what_it_left(run: LocalRun, name: str) -> None:
    tell(f"{name} succeeded.")
    if run.result is not None:
        tell(f"Its result: {json.dumps(run.result, ensure_ascii=False)}")
    for metric, values in run.report.metrics.items():
        tell(f"Metric {metric}: {values[-1][1]:g} in step {values[-1][0]}")
    for artifact in run.report.artifacts:
        tell(f"Artifact {artifact.name}: {artifact.media_type}, {artifact.size:,} bytes")
