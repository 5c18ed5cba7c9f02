"""A task instance outside Airflow, with what operators ask of it."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any


class TaskInstance:
    """Holds its place in a DAG run, and XComs."""

    def __init__(self, **fields: Any) -> None:
        self.dag_id = "dag"
        self.run_id = "run"
        self.task_id = "task"
        self.map_index = -1
        self.try_number = 1
        self.max_tries = 0
        self.start_date = datetime.now(timezone.utc)
        self.xcoms: dict[str, Any] = {}
        self.__dict__.update(fields)

    def xcom_push(self, key: str, value: Any) -> None:
        self.xcoms[key] = value

    def xcom_pull(self, *, task_ids: str, key: str, map_indexes: Any = None) -> Any:
        return self.xcoms.get(key)
