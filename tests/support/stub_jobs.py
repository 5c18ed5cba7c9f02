"""The jobs of the stub dashboard: how they go, and what Ray would tell about them."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from airflow_synapse.rayjobs.models import (
    FAILED,
    PENDING,
    RUNNING,
    STOPPED,
    SUCCEEDED,
    TERMINAL_STATUSES,
)

NEVER = math.inf
NODE_ID = "0f" * 28
ENTRYPOINT_ERROR = "JOB_ENTRYPOINT_COMMAND_ERROR"

MESSAGES = {
    PENDING: "Job has not started yet. It may be waiting for the runtime environment to be set up.",
    RUNNING: "Job is currently running.",
    SUCCEEDED: "Job finished successfully.",
    STOPPED: "Job was intentionally stopped.",
}


_RESERVED = {
    "entrypoint_num_cpus": "CPU",
    "entrypoint_num_gpus": "GPU",
    "entrypoint_memory": "memory",
}


@dataclass(frozen=True)
class JobScript:
    """How a job goes. All times in seconds; ``NEVER`` is one, too.

    :param pending: From its submission to RUNNING.
    :param runtime: From RUNNING to its end.
    :param log: What its driver prints, each with its time since RUNNING.
    :param has_header: Whether Ray's own two lines come first in the log, as they do on Ray.
    :param status: The status it ends with.
    :param message: Ray's sentence at the end; as Ray would say it, if None.
    :param error_type: Ray's ``error_type``; of a FAILED job that of a failed entrypoint, if None.
    :param exit_code: The exit code of its entrypoint; 0 or 1 as fits, if None.
    :param ever_ran: Whether a node took it. One whose runtime_env failed has no node.
    :param stop_delay: From the request to stop it to STOPPED. ``NEVER``: it can't be stopped.
    :param installing: Whether its environment is being installed while it is PENDING.
    :param gives_up_after: From its submission to the end of a job that is still PENDING.
    :param ended_ago: How long before somebody first asks about it it ended, by the wall clock.
    """

    pending: float = 0.0
    runtime: float = 0.0
    log: tuple[tuple[float, bytes], ...] = ()
    has_header: bool = True
    status: str = SUCCEEDED
    message: str | None = None
    error_type: str | None = None
    exit_code: int | None = None
    ever_ran: bool = True
    stop_delay: float = 0.0
    installing: bool = False
    gives_up_after: float = NEVER
    ended_ago: float = 0.0


@dataclass(frozen=True)
class StubNode:
    """A node that is alive.

    :param total: What it has, by Ray's names.
    :param free: What of it the autoscaler's process says is free; None: no such process runs.
    :param labels: Its labels, beside the one with its id.
    :param node_id: Its id.
    :param address: Its address.
    """

    total: Mapping[str, float] = field(
        default_factory=lambda: {"CPU": 4.0, "memory": 8.0 * 1024**3}
    )
    free: Mapping[str, float] | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    node_id: str = NODE_ID
    address: str = "192.0.2.1"

    def row(self) -> dict[str, Any]:
        """What the state API tells of it."""
        return {
            "node_id": self.node_id,
            "node_ip": self.address,
            "is_head_node": self.node_id == NODE_ID,
            "state": "ALIVE",
            "state_message": None,
            "node_name": self.address,
            "resources_total": dict(self.total),
            "labels": {"ray.io/node-id": self.node_id, **self.labels},
            "start_time_ms": 1_700_000_000_000,
            "end_time_ms": 0,
        }

    def usage(self) -> str:
        """What the summary of nodes tells of its use."""
        free = self.free or {}
        lines = (_usage(name, free.get(name, 0.0), total) for name, total in self.total.items())
        return "\n".join(lines)


def _usage(name: str, free: float, total: float) -> str:
    if "memory" in name:
        return f"{(total - free) / 1024**3:.2f}GiB/{total / 1024**3:.2f}GiB {name}"
    return f"{total - free:g}/{total:g} {name}" if total % 1 else f"{total - free}/{total} {name}"


def start_limit(seconds: float, **script: Any) -> JobScript:
    """Return how a job goes that nothing starts before Ray's own limit passes."""
    return JobScript(
        pending=NEVER,
        gives_up_after=seconds,
        status=FAILED,
        message=f"Job supervisor actor failed to start within {seconds} seconds. This timeout can be "
        "configured by setting the environment variable RAY_JOB_START_TIMEOUT_SECONDS.",
        error_type="JOB_SUPERVISOR_ACTOR_START_TIMEOUT",
        ever_ran=False,
        **script,
    )


def runtime_env_failure(reason: str) -> JobScript:
    """Return how a job goes whose runtime_env can't be set up."""
    return JobScript(
        status=FAILED,
        message=f"runtime_env setup failed: Failed to set up runtime environment.\n{reason}\n",
        error_type="RUNTIME_ENV_SETUP_FAILURE",
        ever_ran=False,
    )


class StubJob:
    """A job that goes as its script says, unless the test says otherwise meanwhile.

    :param job_id: Its submission id.
    :param request: The body of the POST that submitted it.
    :param script: How it goes.
    :param agent_address: The URL of the agent on its node.
    :param clock: Seconds, as from ``time.monotonic``.
    """

    def __init__(
        self,
        job_id: str,
        *,
        request: Mapping[str, Any],
        script: JobScript,
        agent_address: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.job_id = job_id
        self.request = dict(request)
        self.script = script
        self._agent_address = agent_address
        self._clock = clock
        self._started = clock()
        self._wall_start = int(time.time() * 1000)
        self._wall_end: int | None = None
        self._stop_requested: float | None = None
        self._forced_status: str | None = None
        self._to_print = list(script.log)
        self._log = bytearray(_first_header() if script.has_header else b"")
        self._has_second_header = not script.has_header

    # What the test does to it

    def append(self, data: bytes) -> None:
        """Let its driver print this, now."""
        self._print_what_is_due()
        self._log += data

    def run(self) -> None:
        """Let it be RUNNING from now on, until :meth:`finish`."""
        self._forced_status = RUNNING

    def finish(self, status: str = SUCCEEDED, **script_fields: Any) -> None:
        """End it now. Takes the fields of :class:`JobScript` that tell how."""
        self.script = JobScript(**{**self.script.__dict__, "status": status, **script_fields})
        self._print_what_is_due()
        self._forced_status = status

    # What Ray does with it

    def request_stop(self) -> bool:
        """Ask it to stop; True if it had not ended."""
        if self.status in TERMINAL_STATUSES:
            return False
        if self._stop_requested is None:
            self._stop_requested = self._clock()
        return True

    @property
    def status(self) -> str:
        """Its status, now."""
        if self._forced_status in TERMINAL_STATUSES:
            return self._forced_status
        now = self._clock()
        runs_from = self._started + self.script.pending
        ends = runs_from + self.script.runtime
        stops = NEVER
        if self._stop_requested is not None:
            stops = self._stop_requested + self.script.stop_delay
        if self._forced_status == RUNNING:
            runs_from, ends = self._started, NEVER
        if now >= self._started + self.script.gives_up_after:
            return self.script.status
        if now >= min(stops, ends):
            return STOPPED if stops < ends else self.script.status
        return RUNNING if now >= runs_from else PENDING

    @property
    def log(self) -> bytes:
        """What its log holds, now."""
        self._print_what_is_due()
        return bytes(self._log)

    def details(self) -> dict[str, Any]:
        """What ``GET /api/jobs/{id}`` tells."""
        status = self.status
        has_node = self.script.ever_ran and status != PENDING
        has_ended = status in TERMINAL_STATUSES
        told = self.script if has_ended and status != STOPPED else JobScript()
        if has_ended and self._wall_end is None:
            self._wall_end = int((time.time() - self.script.ended_ago) * 1000)
        return {
            "type": "SUBMISSION",
            "job_id": None,
            "submission_id": self.job_id,
            "driver_info": None,
            "status": status,
            "entrypoint": self.request["entrypoint"],
            "message": self._message(status, told),
            "error_type": _error_type(status, told),
            "start_time": self._wall_start,
            "end_time": self._wall_end,
            "metadata": self.request.get("metadata"),
            "runtime_env": self.request.get("runtime_env"),
            "driver_agent_http_address": self._agent_address if has_node else None,
            "driver_node_id": NODE_ID if has_node else None,
            "driver_exit_code": _exit_code(status, told) if has_node else None,
        }

    def supervisor(self) -> dict[str, Any]:
        """What the state API tells of the actor that starts it."""
        asked = {
            name: float(value)
            for key, name in _RESERVED.items()
            if (value := self.request.get(key)) is not None
        }
        return {
            "class_name": "JobSupervisor",
            "state": "DEAD" if self.has_ended else _actor_state(self.status),
            "name": f"_ray_internal_job_actor_{self.job_id}",
            "node_id": None if self.status == PENDING else NODE_ID,
            "serialized_runtime_env": json.dumps(self.environment()),
            "required_resources": {**asked, **self.request.get("entrypoint_resources", {})},
            "label_selector": self.request.get("entrypoint_label_selector", {}),
        }

    def environment(self) -> dict[str, Any]:
        """Its runtime_env as Ray completes it."""
        given = self.request.get("runtime_env") or {}
        return {**given, "env_vars": {**given.get("env_vars", {}), "RAY_worker_niceness": "0"}}

    @property
    def has_ended(self) -> bool:
        """Whether it has ended, now."""
        return self.status in TERMINAL_STATUSES

    @property
    def is_installing(self) -> bool:
        """Whether its environment is being installed, now."""
        return self.script.installing and self.status == PENDING

    def _message(self, status: str, told: JobScript) -> str:
        if told.message is not None:
            return told.message
        if status == FAILED:
            end = self.log[-20_000:].decode("utf-8", "replace")
            return (
                f"Job entrypoint command failed with exit code {_exit_code(status, told)}, "
                f"last available logs (truncated to 20,000 chars):\n{end}"
            )
        return MESSAGES[status]

    def _print_what_is_due(self) -> None:
        if self.status == PENDING or not self.script.ever_ran:
            return
        if not self._has_second_header:
            self._has_second_header = True
            line = f"Running entrypoint for job {self.job_id}: {self.request['entrypoint']}\n"
            self._log += line.encode()
        since = min(self._clock() - self._started - self.script.pending, self._stopped_after())
        while self._to_print and self._to_print[0][0] <= since:
            self._log += self._to_print.pop(0)[1]

    def _stopped_after(self) -> float:
        """The seconds that it ran before it was stopped, NEVER if it was not."""
        if self.status != STOPPED:
            return NEVER
        if self._forced_status is not None or self.script.gives_up_after < NEVER:
            return -1.0  # what was due is printed already
        stops = NEVER
        if self._stop_requested is not None:
            stops = self._stop_requested + self.script.stop_delay - self._started
        return min(stops - self.script.pending, self.script.runtime)


def _first_header() -> bytes:
    now = time.strftime("%Y-%m-%d %H:%M:%S")
    return f"{now},000\tINFO job_manager.py:581 -- Runtime env is setting up.\n".encode()


def _actor_state(status: str) -> str:
    return "PENDING_CREATION" if status == PENDING else "ALIVE"


def _error_type(status: str, script: JobScript) -> str | None:
    if script.error_type is None and status == FAILED:
        return ENTRYPOINT_ERROR
    return script.error_type


def _exit_code(status: str, script: JobScript) -> int | None:
    if script.exit_code is not None:
        return script.exit_code
    if status == SUCCEEDED:
        return 0
    return 1 if _error_type(status, script) == ENTRYPOINT_ERROR else None
