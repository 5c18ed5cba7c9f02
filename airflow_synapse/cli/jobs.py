"""``airflow ray list``, ``status`` and ``stop``."""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import Mapping
from typing import Any

from airflow_synapse import settings
from airflow_synapse.cli import exits
from airflow_synapse.cli.cluster import executor_of, hook_of, ref_of
from airflow_synapse.cli.durations import seconds_of
from airflow_synapse.cli.exits import command, tell
from airflow_synapse.cli.tables import FOR_PEOPLE, moment, print_one, print_rows, shortened
from airflow_synapse.handover.job_metadata import DEPLOYMENT_KEY
from airflow_synapse.plurals import counted
from airflow_synapse.rayjobs.models import (
    ACTION_KEY,
    OWNER_KEY,
    PENDING,
    PLUGIN_KEY,
    SPEC_KEY,
    JobInfo,
)


@command
def list_jobs(args: Namespace) -> int:
    """List jobs, newest first."""
    since = _since(args.since)
    if args.own and not settings.deployment():
        raise exits.UsageError(
            "--own can't recognize this Airflow's jobs, because this Airflow has no name. Set [ray] "
            "deployment or [api] base_url in its configuration"
        )
    all_jobs = executor_of(args).list_jobs()
    jobs = [job for job in all_jobs if _is_wanted(job, args, since)]
    jobs.sort(key=lambda job: job.start_time or 0, reverse=True)
    shown = jobs[: args.limit or None]
    print_rows([_row(job, args.output) for job in shown], args.output)
    if len(shown) < len(jobs):
        tell(f"Showing {len(shown)} of {len(jobs)} jobs. Use --limit 0 to show all.")
    elif not jobs:
        tell(f"No jobs match. The cluster remembers {counted(len(all_jobs), 'job')}.")
    return exits.OK


@command
def status(args: Namespace) -> int:
    """Show everything that is known about a job."""
    hook = hook_of(ref_of(args))
    job = hook.get_info(args.job_id)
    reason = hook.get_conn().find_reason(args.job_id) if job.status == PENDING else None
    page = hook.job_page(args.job_id)
    print_one(_facts(job, page, args.output, waiting=reason.text if reason else None), args.output)
    return exits.OK


@command
def stop(args: Namespace) -> int:
    """Stop a job and wait until it has stopped."""
    executor = executor_of(args)
    if executor.stop(args.job_id):
        tell(f"Ray job {args.job_id} was stopped.")
    else:
        status = executor.get_status(args.job_id)
        tell(f"Ray job {args.job_id} had already ended as {status}.")
    return exits.OK


def _is_wanted(job: JobInfo, args: Namespace, since: float) -> bool:
    if args.status and job.status not in args.status:
        return False
    if args.own and job.metadata.get(DEPLOYMENT_KEY) != settings.deployment():
        return False
    return (job.start_time or 0) >= since * 1000


def _since(text: str | None) -> float:
    """Return the time that was a duration ago, in seconds since the epoch."""
    if text is None:
        return 0.0
    seconds = seconds_of(text, "--since")
    return time.time() - seconds


def _row(job: JobInfo, output: str) -> dict[str, Any]:
    runs = _what_runs(job)
    return {
        "job_id": job.job_id,
        "status": job.status,
        "submitted": moment(job.start_time),
        "ended": moment(job.end_time),
        "runs": shortened(runs) if output in FOR_PEOPLE else runs,
        "airflow_task": _task(job.metadata),
    }


def _facts(job: JobInfo, page: str, output: str, *, waiting: str | None) -> dict[str, Any]:
    facts = {
        "job_id": job.job_id,
        "status": job.status,
        "waiting": waiting,
        "message": job.message,
        "error_type": job.error_type,
        "exit_code": job.driver_exit_code,
        "submitted": moment(job.start_time),
        "ended": moment(job.end_time),
        "runs": _what_runs(job),
        "entrypoint": job.entrypoint,
        "airflow_task": _task(job.metadata),
        "node_id": job.driver_node_id,
        "agent": job.driver_agent_http_address,
        "page": page,
        "metadata": {
            key: value for key, value in job.metadata.items() if key not in (SPEC_KEY, OWNER_KEY)
        },
    }
    if output in FOR_PEOPLE:
        return {name: value for name, value in facts.items() if value not in (None, {})}
    return facts


def _what_runs(job: JobInfo) -> str:
    """Return the plugin's action, or the command if the job runs no action."""
    action = job.metadata.get(ACTION_KEY)
    if action is None:
        return job.entrypoint
    plugin = job.metadata.get(PLUGIN_KEY)
    return f"{plugin}: {action}" if plugin else action


def _task(metadata: Mapping[str, str]) -> str | None:
    """Return the task instance and the try that submitted a job, None if no task did."""
    if "airflow_task_id" not in metadata:
        return None
    name = f"{metadata.get('airflow_dag_id')}.{metadata['airflow_task_id']}"
    index = metadata.get("airflow_map_index", "-1")
    mapped = "" if index == "-1" else f"[{index}]"
    return f"{name}{mapped}, {metadata.get('airflow_run_id')}, try {metadata.get('airflow_try_number')}"
