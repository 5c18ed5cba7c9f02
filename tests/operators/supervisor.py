"""An Airflow that a task's process can ask."""

from __future__ import annotations

import threading
from typing import Any

from airflow.sdk.exceptions import AirflowRuntimeError, ErrorType
from airflow.sdk.execution_time.comms import (
    ErrorResponse,
    GetTaskStates,
    TaskStatesResult,
    ValidateInletsAndOutlets,
)

DELETED = "the DAG run was deleted"


class Supervisor:
    """Answers what Airflow would."""

    def __init__(self) -> None:
        self.state: str | None = "running"
        self.is_superseded = False
        self.is_away = False
        self.came_back = threading.Event()

    def send(self, request: Any) -> Any:
        if self.is_away:
            self.came_back.wait(60)
        if isinstance(request, GetTaskStates):
            states = {} if self.state == DELETED else {"task": self.state}
            return TaskStatesResult(task_states={"run": states})
        assert isinstance(request, ValidateInletsAndOutlets)
        if self.is_superseded:
            detail = {"status_code": 404, "message": "Task Instance not found"}
            raise AirflowRuntimeError(
                ErrorResponse(error=ErrorType.API_SERVER_ERROR, detail=detail)
            )
        return None
