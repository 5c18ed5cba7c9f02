"""What a job is told about the task that submitted it, as environment variables. Pure."""

from __future__ import annotations

from typing import Any

_PREFIX = "AIRFLOW_CTX_"


def context_vars(context: Any, task: Any) -> dict[str, str]:
    """Return Airflow's own ``AIRFLOW_CTX_…`` variables, and one more for the map index.

    Airflow 3.1 to 3.3 set the same ones, by ``context_to_airflow_vars``.
    """
    ti, dag_run = context["ti"], context.get("dag_run")
    logical_date = getattr(dag_run, "logical_date", None)
    told = {
        "DAG_ID": ti.dag_id,
        "DAG_RUN_ID": ti.run_id,
        "TASK_ID": ti.task_id,
        "MAP_INDEX": ti.map_index if ti.map_index is not None else -1,
        "TRY_NUMBER": ti.try_number,
        "LOGICAL_DATE": logical_date.isoformat() if logical_date else None,
        "DAG_OWNER": task.owner,
        "DAG_EMAIL": _joined(task.email),
    }
    return {f"{_PREFIX}{name}": str(value) for name, value in told.items() if value is not None}


def _joined(email: Any) -> str | None:
    if not email:
        return None
    return email if isinstance(email, str) else ",".join(map(str, email))
