"""What tests of the trigger do again and again."""

from __future__ import annotations

import json
from typing import Any

import pytest  # noqa: TC002  # as every other test module has it

from airflow_synapse.triggers.ray_job import RayJobTrigger


def connect(monkeypatch: pytest.MonkeyPatch, url: str, **fields: Any) -> None:
    connection = {"conn_type": "ray", "host": url, **fields}
    monkeypatch.setenv("AIRFLOW_CONN_RAY_DEFAULT", json.dumps(connection))


async def events_of(trigger: RayJobTrigger) -> list[dict[str, Any]]:
    return [event.payload async for event in trigger.run()]


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]
