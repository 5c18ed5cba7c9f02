"""What tests of lineage do again and again."""

from __future__ import annotations

from datetime import datetime, timezone
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from airflow.sdk.execution_time.context import OutletEventAccessors

from tests.operators.task_instance import TaskInstance

if TYPE_CHECKING:
    from airflow.sdk import Asset


class TaskInstanceOfRun(TaskInstance):
    """A task instance that knows its DAG run, as OpenLineage's macros ask for it."""

    def get_template_context(self) -> dict[str, Any]:
        run = SimpleNamespace(
            logical_date=None,
            run_after=datetime(2025, 1, 1, tzinfo=timezone.utc),
            clear_number=0,
            conf={},
        )
        return {"dag_run": run}


class OutletEvents:
    """A task's context, with the asset events that Airflow would store."""

    def __init__(self) -> None:
        self.ti = TaskInstance()
        self.events = OutletEventAccessors()

    @property
    def context(self) -> Any:
        return {"ti": self.ti, "outlet_events": self.events}

    def extra(self, asset: Asset) -> dict[str, Any]:
        return self.events[asset].extra
