"""Reads and writes XComs of a trigger's task from inside the triggerer.

``XCom.aget_one`` and ``aset`` came with Airflow 3.2. The messages that they send are older.
"""

from __future__ import annotations

import asyncio
from typing import Any


async def get_xcom(task_instance: Any, key: str) -> Any:
    """Return an XCom of the task instance, None if there is none."""
    from airflow.sdk.execution_time.comms import GetXCom, XComResult
    from airflow.sdk.execution_time.task_runner import SUPERVISOR_COMMS
    from airflow.sdk.execution_time.xcom import XCom

    answer = await SUPERVISOR_COMMS.asend(GetXCom(key=key, **_ids(task_instance)))
    if not isinstance(answer, XComResult) or answer.value is None:
        return None
    # In a thread, because an XCom backend may read a store, and Airflow's own imports its readers now.
    return await asyncio.to_thread(XCom.deserialize_value, answer)


async def set_xcom(task_instance: Any, key: str, value: Any) -> None:
    """Keep a JSON value as an XCom of the task instance. It does not go through an XCom backend."""
    from airflow.sdk.execution_time.comms import SetXCom
    from airflow.sdk.execution_time.task_runner import SUPERVISOR_COMMS

    await SUPERVISOR_COMMS.asend(SetXCom(key=key, value=value, **_ids(task_instance)))


def _ids(task_instance: Any) -> dict[str, Any]:
    map_index = task_instance.map_index
    return {
        "dag_id": task_instance.dag_id,
        "run_id": task_instance.run_id,
        "task_id": task_instance.task_id,
        "map_index": -1 if map_index is None else map_index,
    }
