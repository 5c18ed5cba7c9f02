"""``airflow ray result`` and ``report``: what a job's action returned, and what it reported."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from typing import Any

from airflow_synapse.cli import exits
from airflow_synapse.cli.cluster import executor_of
from airflow_synapse.cli.exits import command, tell
from airflow_synapse.cli.tables import FOR_PEOPLE, moment, print_one, print_rows
from airflow_synapse.masking import without_controls
from airflow_synapse.rayjobs.job.report_lines import JobReport, Progress


@command
def result(args: Namespace) -> int:
    """Print what a job's action returned, as JSON."""
    value = executor_of(args).get_result(args.job_id)
    text = json.dumps(value, ensure_ascii=False, indent=2)
    print(without_controls(text))  # noqa: T201  # what was asked for
    return exits.OK


@command
def report(args: Namespace) -> int:
    """Print what a job has reported, or one of its artifacts."""
    executor = executor_of(args)
    if args.artifact is not None:
        if sys.stdout.isatty():
            raise exits.UsageError("a file may confuse a terminal. Redirect it: > FILE")
        sys.stdout.buffer.write(executor.get_artifact(args.job_id, args.artifact))
        sys.stdout.buffer.flush()
        return exits.OK
    found = executor.get_report(args.job_id)
    if args.output not in FOR_PEOPLE:
        print_one(_everything(found), args.output)
    elif rows := _rows(found):
        print_rows(rows, args.output)
    else:
        tell(f"Ray job {args.job_id} has reported nothing.")
    return exits.OK


def _everything(found: JobReport) -> dict[str, Any]:
    return {
        "progress": {
            step: {"done": progress.done, "total": progress.total}
            for step, progress in found.progress.items()
        },
        "metrics": {name: [list(pair) for pair in pairs] for name, pairs in found.metrics.items()},
        "artifacts": [
            {"name": file.name, "media_type": file.media_type, "size": file.size}
            for file in found.artifacts
        ],
        "messages": [
            {"time": message.time, "level": message.level, "text": message.text}
            for message in found.messages
        ],
    }


def _rows(found: JobReport) -> list[dict[str, Any]]:
    """Return the last of everything, one fact a row."""
    facts = [("progress", step, _fraction(done)) for step, done in found.progress.items()]
    facts += [
        ("metric", name, f"{pairs[-1][1]:g} in step {pairs[-1][0]}")
        for name, pairs in found.metrics.items()
    ]
    facts += [
        ("artifact", file.name, f"{file.media_type}, {file.size:,} bytes")
        for file in found.artifacts
    ]
    facts += [
        (message.level, moment(int(message.time * 1000)) or "", message.text)
        for message in found.messages
    ]
    return [{"what": what, "name": name, "value": value} for what, name, value in facts]


def _fraction(progress: Progress) -> str:
    total = "" if progress.total is None else f" of {progress.total:g}"
    return f"{progress.done:g}{total}"
