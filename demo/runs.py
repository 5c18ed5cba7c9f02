"""Runs one DAG, showing the logs of its tasks while they run."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

import httpx

from demo.screen import Screen
from local_services.airflow_deployment import AirflowDeployment

_POLL = 1.0
_OF_AIRFLOW_ITSELF = ("task", "airflow.", "root", "supervisor")
"""Loggers whose lines tell of Airflow's doing rather than of the job."""


class DagFailedError(Exception):
    """A DAG of the demo did not succeed."""


def run_dag(
    airflow: AirflowDeployment,
    dag_id: str,
    screen: Screen,
    *,
    conf: Mapping[str, Any] | None = None,
    timeout: float = 600.0,
) -> str:
    """Run a DAG to its end and return the run id.

    :raises DagFailedError: if it does not succeed in time.
    """
    airflow.wait_for_dag(dag_id)
    airflow.api.unpause(dag_id)
    run_id = airflow.api.trigger(dag_id, conf)
    tail = _Tail(airflow, dag_id, run_id, screen)
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        state = airflow.api.run_state(dag_id, run_id)
        tail.show_news()
        if state == "success":
            return run_id
        if state == "failed":
            break
        time.sleep(_POLL)
    else:
        state = f"still {state} after {timeout:g} s"
    raise DagFailedError(f"{dag_id} is {state}: {airflow.api.task_states(dag_id, run_id)}")


class _Tail:
    """What has been shown of a run's tasks so far."""

    def __init__(
        self, airflow: AirflowDeployment, dag_id: str, run_id: str, screen: Screen
    ) -> None:
        self._api = airflow.api
        self._run = (dag_id, run_id)
        self._screen = screen
        self._states: dict[str, str] = {}
        self._shown: Counter[str] = Counter()

    def show_news(self) -> None:
        for row in self._api.task_instances(*self._run):
            mapped = f"[{row['map_index']}]" if row["map_index"] >= 0 else ""
            name = f"{row['task_id']}{mapped}"
            if row["state"] in (None, "scheduled", "queued"):
                continue
            self._show_lines(name, row)
            if self._states.get(name) != row["state"]:
                self._states[name] = row["state"]
                self._screen.state(name, row["state"])

    def _show_lines(self, name: str, row: Mapping[str, Any]) -> None:
        if self._states.get(name) in ("success", "failed"):
            return
        try:
            entries = self._api.task_log_entries(
                *self._run, row["task_id"], max(1, row["try_number"]), row["map_index"]
            )
        except httpx.HTTPStatusError:
            return  # nothing is written yet
        lines = [entry for entry in entries if _is_of_job(entry)]
        for entry in lines[self._shown[name] :]:
            self._screen.line(name, str(entry["event"]))
            for error in entry.get("error_detail") or ():
                self._screen.line(name, f"{error['exc_type']}: {error['exc_value']}")
        self._shown[name] = len(lines)


def _is_of_job(entry: Mapping[str, Any]) -> bool:
    if entry.get("error_detail"):
        return True
    logger = str(entry.get("logger") or "airflow.")
    return not logger.startswith(_OF_AIRFLOW_ITSELF) or "airflow_synapse" in logger
