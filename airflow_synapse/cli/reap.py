"""``airflow ray reap``: stops the jobs that nobody wants any more."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from airflow_synapse import settings
from airflow_synapse.cli import exits
from airflow_synapse.cli.cluster import executor_of, ref_of
from airflow_synapse.cli.exits import UsageError, command, tell
from airflow_synapse.cli.tables import print_rows
from airflow_synapse.collecting import texts
from airflow_synapse.collecting.database import ask_database
from airflow_synapse.collecting.orphans import CollectPace, Suspicion
from airflow_synapse.collecting.sweep import Sweep, Swept
from airflow_synapse.plurals import counted

_NOTHING = "No job was found that nobody wants any more."


@command
def reap(args: Namespace) -> int:
    """Stop the jobs that nobody wants any more."""
    sweep = _sweep(args)
    try:
        return _show(sweep, args) if args.dry_run else _stop(sweep, args)
    except SQLAlchemyError as exc:
        reason = getattr(exc, "orig", None) or type(exc).__name__
        tell(f"Airflow's database can't be read, so no job was stopped: {reason}.")
        return exits.UNEXPECTED


def _sweep(args: Namespace) -> Sweep:
    deployment = settings.deployment()
    if not deployment:
        raise UsageError(
            "this Airflow has no name, so its jobs can't be told from those of others. Set [ray] deployment or "
            "[api] base_url in its configuration"
        )
    return Sweep(
        executor_of(args),
        ask_database,
        deployment=deployment,
        pace=CollectPace(settings.collect_interval(), settings.collect_gone_after()),
        spares_many=not args.force,
    )


def _show(sweep: Sweep, args: Namespace) -> int:
    suspects = sweep.suspects()
    _print(suspects, args.output)
    jobs = counted(len(suspects), "job")
    tell(
        f"{jobs} would be stopped if later looks agree. Nothing was stopped."
        if suspects
        else _NOTHING
    )
    return exits.OK


def _stop(sweep: Sweep, args: Namespace) -> int:
    swept = sweep.run(tell)
    _print(swept.stopped, args.output)
    tell(f"{counted(len(swept.stopped), 'job')} stopped." if swept.stopped else _NOTHING)
    return _tell_left(swept, args)


def _tell_left(swept: Swept, args: Namespace) -> int:
    """Tell which jobs were not stopped, and return the exit code."""
    ref = ref_of(args)
    for orphan, error in swept.not_stopped:
        tell(texts.NOT_STOPPED % (orphan.job.job_id, ref, orphan, error))
    if swept.spared:
        tell(texts.refusal(len(swept.spared), cluster=str(ref), command=texts.by_force(ref)))
        return exits.BAD_INPUT
    return exits.TIMEOUT if swept.not_stopped else exits.OK


def _print(orphans: Sequence[Suspicion], output: str) -> None:
    print_rows([_row(orphan) for orphan in orphans], output)


def _row(orphan: Suspicion) -> dict[str, Any]:
    return {
        "job_id": orphan.job.job_id,
        "airflow_task": str(orphan.job.task),
        "state": orphan.state,
    }
