"""What a user does in Airflow's web pages, over the same REST API."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import quote

import httpx

FINAL_RUN_STATES = frozenset({"success", "failed"})

_POLL = 0.3


class AirflowApi:
    """One user's session with a deployment's REST API.

    Every method raises ``httpx.HTTPStatusError`` for an answer that is an error.

    :param base_url: e.g. ``http://127.0.0.1:8080``.
    :param username: Who logs in.
    :param password: With which password.
    """

    def __init__(self, base_url: str, *, username: str, password: str) -> None:
        self._base_url = base_url
        self._credentials = {"username": username, "password": password}
        self._client = httpx.Client(base_url=f"{base_url}/api/v2", timeout=60)

    def close(self) -> None:
        self._client.close()

    # Deployment

    def health(self) -> dict[str, str]:
        """Return the status of each component, without logging in."""
        parts = self._client.get("/monitor/health").raise_for_status().json()
        return {name: part["status"] or "unknown" for name, part in parts.items()}

    def import_errors(self) -> dict[str, str]:
        """Return the stack traces of DAG files that can't be imported, by file."""
        errors = self.get("/importErrors")["import_errors"]
        return {error["filename"]: error["stack_trace"] for error in errors}

    def has_dag(self, dag_id: str) -> bool:
        """Whether the dag processor has found the DAG yet."""
        return self._request("GET", f"/dags/{dag_id}").status_code == httpx.codes.OK

    # Runs

    def unpause(self, dag_id: str) -> None:
        self._request("PATCH", f"/dags/{dag_id}", json={"is_paused": False}).raise_for_status()

    def pause(self, dag_id: str) -> None:
        self._request("PATCH", f"/dags/{dag_id}", json={"is_paused": True}).raise_for_status()

    def trigger(
        self, dag_id: str, conf: Mapping[str, Any] | None = None, *, run_id: str | None = None
    ) -> str:
        """Start a run and return its run id. A paused DAG's run stays queued."""
        body: dict[str, Any] = {"conf": dict(conf or {}), "logical_date": None}
        if run_id is not None:
            body["dag_run_id"] = run_id
        return str(self.post(f"/dags/{dag_id}/dagRuns", body)["dag_run_id"])

    def run_state(self, dag_id: str, run_id: str) -> str:
        return str(self.get(_run(dag_id, run_id))["state"])

    def wait_run(
        self,
        dag_id: str,
        run_id: str,
        *,
        timeout: float = 300.0,
        on_change: Callable[[dict[str, str]], None] | None = None,
    ) -> str:
        """Return the final state of a run.

        :param timeout: Seconds to wait at most.
        :param on_change: Given the states of all tasks, whenever one has changed.
        :raises TimeoutError: if it is still not over, telling the states of its tasks.
        """
        deadline = time.monotonic() + timeout
        seen: dict[str, str] = {}
        while True:
            state = self.run_state(dag_id, run_id)
            states = self.task_states(dag_id, run_id)
            if states != seen and on_change is not None:
                on_change(states)
            seen = states
            if state in FINAL_RUN_STATES:
                return state
            if time.monotonic() > deadline:
                raise TimeoutError(f"run {run_id} of {dag_id} is {state}: {states}")
            time.sleep(_POLL)

    # Task instances

    def task_instances(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """Return what Airflow knows about each task of a run."""
        answer = self.get(f"{_run(dag_id, run_id)}/taskInstances?limit=1000")
        return list(answer["task_instances"])

    def task_instance(
        self, dag_id: str, run_id: str, task_id: str, map_index: int = -1
    ) -> dict[str, Any]:
        """Return what Airflow knows about one task of a run."""
        return dict(self.get(_task(dag_id, run_id, task_id, map_index)))

    def task_states(self, dag_id: str, run_id: str) -> dict[str, str]:
        """Return the state of each task of a run, by ``task_id`` or ``task_id[map_index]``."""
        rows = self.task_instances(dag_id, run_id)
        return {_display_name(row): row["state"] or "none" for row in rows}

    def wait_task(
        self,
        dag_id: str,
        run_id: str,
        task_id: str,
        states: Iterable[str],
        *,
        map_index: int = -1,
        timeout: float = 120.0,
    ) -> dict[str, Any]:
        """Return the task instance once it is in one of ``states``.

        :raises TimeoutError: if it is not after ``timeout`` seconds.
        """
        wanted = set(states)
        deadline = time.monotonic() + timeout
        while True:
            row = self.task_instance(dag_id, run_id, task_id, map_index)
            if row["state"] in wanted:
                return row
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"{task_id} is {row['state']} in try {row['try_number']} and not one of {wanted} "
                    f"after {timeout:g} s; events: {self.events(dag_id, run_id, task_id)}"
                )
            time.sleep(_POLL)

    def task_log(
        self, dag_id: str, run_id: str, task_id: str, try_number: int = 1, map_index: int = -1
    ) -> list[str]:
        """Return the messages of a try's log, those of the triggerer among them."""
        return [
            str(entry.get("event", ""))
            for entry in self.task_log_entries(dag_id, run_id, task_id, try_number, map_index)
        ]

    def task_log_entries(
        self, dag_id: str, run_id: str, task_id: str, try_number: int = 1, map_index: int = -1
    ) -> list[dict[str, Any]]:
        """Return the entries of a try's log, each with ``event`` and mostly ``timestamp``."""
        answer = self._request(
            "GET",
            f"{_task(dag_id, run_id, task_id)}/logs/{try_number}",
            params={"map_index": map_index, "full_content": True},
            headers={"Accept": "application/x-ndjson"},
        ).raise_for_status()
        # Not splitlines(): a message may hold characters that it takes for line ends.
        return [json.loads(line) for line in answer.text.split("\n") if line.strip()]

    def xcom(
        self,
        dag_id: str,
        run_id: str,
        task_id: str,
        key: str = "return_value",
        map_index: int = -1,
    ) -> Any:
        """Return an XCom's value."""
        path = f"{_task(dag_id, run_id, task_id)}/xcomEntries/{quote(key, safe='')}"
        query = f"map_index={map_index}&stringify=false"
        return self.get(f"{path}?{query}")["value"]

    def events(self, dag_id: str, run_id: str, task_id: str) -> list[str]:
        """Return what Airflow's audit log tells of a task of a run, e.g. ``state mismatch``."""
        query = f"dag_id={dag_id}&run_id={quote(run_id, safe='')}&task_id={task_id}&limit=100"
        return [row["event"] for row in self.get(f"/eventLogs?{query}")["event_logs"]]

    def links(
        self, dag_id: str, run_id: str, task_id: str, map_index: int = -1
    ) -> dict[str, str | None]:
        """Return a task's extra links by name."""
        answer = self.get(f"{_task(dag_id, run_id, task_id)}/links?map_index={map_index}")
        return dict(answer["extra_links"])

    def clear(
        self,
        dag_id: str,
        run_id: str,
        *task_ids: str | tuple[str, int],
        downstream: bool = False,
    ) -> None:
        """Clear tasks of a run, each by task id or by task id and map index."""
        body = {
            "dry_run": False,
            "dag_run_id": run_id,
            "task_ids": list(task_ids),
            "only_failed": False,
            "reset_dag_runs": True,
            "include_downstream": downstream,
        }
        self.post(f"/dags/{dag_id}/clearTaskInstances", body)

    def mark(self, dag_id: str, run_id: str, task_id: str, state: str, map_index: int = -1) -> None:
        """Mark a task ``success`` or ``failed``."""
        path = _task(dag_id, run_id, task_id, map_index)
        self._request("PATCH", path, json={"new_state": state}).raise_for_status()

    def mark_run(self, dag_id: str, run_id: str, state: str) -> None:
        """Mark a whole run ``success``, ``failed`` or ``queued``."""
        self._request("PATCH", _run(dag_id, run_id), json={"state": state}).raise_for_status()

    def delete_run(self, dag_id: str, run_id: str) -> None:
        """Delete a run, which must not be running."""
        self._request("DELETE", _run(dag_id, run_id)).raise_for_status()

    # Requests

    def get(self, path: str) -> Any:
        """Return the answer to GET below ``/api/v2``."""
        return self._request("GET", path).raise_for_status().json()

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """Return the answer to POST below ``/api/v2``."""
        return self._request("POST", path, json=body).raise_for_status().json()

    def _request(self, method: str, path: str, **kwargs: Any) -> httpx.Response:
        if "Authorization" not in self._client.headers:
            self._log_in()
        answer = self._client.request(method, path, **kwargs)
        if answer.status_code == httpx.codes.UNAUTHORIZED:
            self._log_in()
            answer = self._client.request(method, path, **kwargs)
        return answer

    def _log_in(self) -> None:
        answer = httpx.post(f"{self._base_url}/auth/token", json=self._credentials, timeout=60)
        token = answer.raise_for_status().json()["access_token"]
        self._client.headers["Authorization"] = f"Bearer {token}"


def _run(dag_id: str, run_id: str) -> str:
    return f"/dags/{dag_id}/dagRuns/{quote(run_id, safe='')}"


def _task(dag_id: str, run_id: str, task_id: str, map_index: int = -1) -> str:
    path = f"{_run(dag_id, run_id)}/taskInstances/{task_id}"
    return path if map_index < 0 else f"{path}/{map_index}"


def _display_name(row: Mapping[str, Any]) -> str:
    name = str(row["task_id"])
    return name if row["map_index"] < 0 else f"{name}[{row['map_index']}]"
