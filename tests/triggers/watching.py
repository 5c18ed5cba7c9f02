"""What tests of the trigger do again and again."""

from __future__ import annotations

import json
from typing import Any

import airflow
import pytest  # noqa: TC002  # as every other test module has it
from airflow.sdk.exceptions import ErrorType
from airflow.sdk.execution_time import task_runner
from airflow.sdk.execution_time.comms import ErrorResponse

from airflow_synapse.triggers import log_channel
from airflow_synapse.triggers.ray_job import RayJobTrigger


class ApiServer:
    """Knows no connection. Airflow 3.1.0 asks for it in any case."""

    async def asend(self, message: Any) -> ErrorResponse:
        return ErrorResponse(error=ErrorType.CONNECTION_NOT_FOUND, detail=message.model_dump())


def connect(monkeypatch: pytest.MonkeyPatch, url: str, **fields: Any) -> None:
    if airflow.__version__ == "3.1.0":
        monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", ApiServer(), raising=False)
    connection = {"conn_type": "ray", "host": url, **fields}
    monkeypatch.setenv("AIRFLOW_CONN_RAY_DEFAULT", json.dumps(connection))


async def events_of(trigger: RayJobTrigger) -> list[dict[str, Any]]:
    return [event.payload async for event in trigger.run()]


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


def forget_channel() -> None:
    """Have the next look at structlog's configuration be the first one."""
    log_channel._channel.cache_clear()
    log_channel._poller.cache_clear()
