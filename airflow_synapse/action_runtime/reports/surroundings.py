"""What the environment says about the task that submitted this job, and about its storage."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple, Optional

STORAGE_PATH = "AIRFLOW_SYNAPSE_STORAGE_PATH"
EARLIER_STORAGE_PATHS = "AIRFLOW_SYNAPSE_EARLIER_STORAGE_PATHS"
"""A JSON list of paths that may be there."""


class AirflowRun(NamedTuple):
    """The task instance that this job was submitted for.

    :param map_index: -1 if the task is not mapped.
    :param logical_date: None for runs that have none.
    """

    dag_id: str
    run_id: str
    task_id: str
    map_index: int
    try_number: int
    logical_date: Optional[datetime]


class Surroundings(NamedTuple):
    """Where a job stands.

    :param airflow: None outside Airflow.
    :param storage_path: A folder or a URI; None if none is set.
    :param earlier_storage_paths: Those before each clear of the task, newest first.
    :param maybe_earlier: Paths of which only some are there, instead of these.
    """

    airflow: Optional[AirflowRun] = None
    storage_path: Optional[str] = None
    earlier_storage_paths: tuple[str, ...] = ()
    maybe_earlier: tuple[str, ...] = ()


def read_surroundings(environ: Optional[Mapping[str, str]] = None) -> Surroundings:
    """Return what the environment says."""
    told = os.environ if environ is None else environ
    storage_path = told.get(STORAGE_PATH) or None
    return Surroundings(_run(told), storage_path, maybe_earlier=_earlier(told))


def _run(environ: Mapping[str, str]) -> Optional[AirflowRun]:
    dag_id, task_id = environ.get("AIRFLOW_CTX_DAG_ID"), environ.get("AIRFLOW_CTX_TASK_ID")
    if not dag_id or not task_id:
        return None
    return AirflowRun(
        dag_id=dag_id,
        run_id=environ.get("AIRFLOW_CTX_DAG_RUN_ID", ""),
        task_id=task_id,
        map_index=_integer(environ.get("AIRFLOW_CTX_MAP_INDEX"), -1),
        try_number=_integer(environ.get("AIRFLOW_CTX_TRY_NUMBER"), 1),
        logical_date=_date(environ.get("AIRFLOW_CTX_LOGICAL_DATE")),
    )


def _earlier(environ: Mapping[str, str]) -> tuple[str, ...]:
    try:
        return tuple(map(str, json.loads(environ.get(EARLIER_STORAGE_PATHS) or "[]")))
    except (ValueError, TypeError):
        return ()


def _integer(text: Optional[str], default: int) -> int:
    try:
        return int(text or "")
    except ValueError:
        return default


def _date(text: Optional[str]) -> Optional[datetime]:
    try:
        return datetime.fromisoformat(text) if text else None
    except ValueError:
        return None
