"""The part of Ray's dashboard that airflow-synapse talks to, in this process and within milliseconds.

Every claim it makes about Ray is held against a real one by ``tests/contract``.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from aiohttp import web

from tests.support.stub_jobs import NODE_ID, JobScript, StubJob, StubNode, runtime_env_failure
from tests.support.stub_server import StubServer, text_answer, write_part

GET_JOB = "GET /api/jobs/{job_id}"
LIST_JOBS = "GET /api/jobs/"
SUBMIT = "POST /api/jobs/"
STOP = "POST /api/jobs/{job_id}/stop"
DELETE = "DELETE /api/jobs/{job_id}"
VERSION = "GET /api/version"
GET_PACKAGE = "GET /api/packages/{protocol}/{name}"
PUT_PACKAGE = "PUT /api/packages/{protocol}/{name}"
LOGS = "GET /api/v0/logs/{media_type}"
ACTORS = "GET /api/v0/actors"
RUNTIME_ENVS = "GET /api/v0/runtime_envs"
NODES = "GET /api/v0/nodes"
NODE_SUMMARY = "GET /nodes"
CLUSTER_STATUS = "GET /api/cluster_status"
CLUSTER_EVENTS = "GET /api/v0/cluster_events"
WAITING = (ACTORS, RUNTIME_ENVS, NODES, NODE_SUMMARY, CLUSTER_STATUS, CLUSTER_EVENTS)
AGENT_LOG = "GET /logs/{filename}"

LOG_DIR = "/tmp/ray/session_stub/logs"
RAY_VERSION = "2.60.0"
NO_CLUSTER_STATUS = (
    "No cluster status. It may take a few seconds for the Ray internal services to start up."
)
"""What Ray says where no autoscaler's process runs."""

_SUBMIT_FIELDS = {
    "entrypoint",
    "submission_id",
    "job_id",
    "runtime_env",
    "metadata",
    "entrypoint_num_cpus",
    "entrypoint_num_gpus",
    "entrypoint_memory",
    "entrypoint_resources",
    "entrypoint_label_selector",
}
_LONGEST_FILE_NAME = 255
_FOLLOW_INTERVAL = 0.02


class StubDashboard(StubServer):
    """A dashboard and the agent of its only node, each on a port of its own.

    ``async with`` runs it in the event loop of the test, ``with`` in a thread of its own.

    :param token: Ask every caller for this bearer token.
    :param max_log_requests: How many log requests are served at once; more wait.
    :param clock: What its jobs tell the time by.
    """

    def __init__(
        self,
        *,
        token: str | None = None,
        max_log_requests: int = 100,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(token=token, clock=clock)
        self.max_log_requests = max_log_requests
        self.jobs: dict[str, StubJob] = {}
        self.packages: dict[str, bytes] = {}
        self.files: dict[str, bytes] = {}
        self.nodes = [StubNode()]
        self.cluster_status = NO_CLUSTER_STATUS
        self.cluster_events: list[str] = []
        self.url = ""
        self.agent_url = ""
        self.open_log_requests = 0
        self.most_log_requests = 0
        self._scripts: dict[str | None, JobScript] = {None: JobScript()}
        self._next_scripts: deque[JobScript] = deque()

    # What a test tells it

    def script(self, job_id: str | None = None, **fields: Any) -> None:
        """Say how a job will go, or every job that nothing else is said of.

        Takes the fields of :class:`JobScript`.
        """
        self._scripts[job_id] = JobScript(**fields)

    def script_next(self, *scripts: JobScript) -> None:
        """Say how the next jobs that are submitted will go, in this order."""
        self._next_scripts.extend(scripts)

    def add_job(self, job_id: str, entrypoint: str = "true", **fields: Any) -> StubJob:
        """Have a job that somebody else submitted. Takes the fields of :class:`JobScript`."""
        script = JobScript(**fields) if fields else self._scripts.get(job_id, self._scripts[None])
        return self._start_job(job_id, {"entrypoint": entrypoint}, script)

    def forget_all(self) -> None:
        """Forget jobs, packages and files, as a head node does that was restarted."""
        self.jobs.clear()
        self.packages.clear()
        self.files.clear()

    async def open_ports(self) -> None:
        self.agent_url = await self.serve([(AGENT_LOG, self._agent_log)])
        self.url = await self.serve(
            [
                (VERSION, self._version),
                (GET_PACKAGE, self._get_package),
                (PUT_PACKAGE, self._put_package),
                (SUBMIT, self._submit),
                (LIST_JOBS, self._list_jobs),
                (GET_JOB, self._get_job),
                (STOP, self._stop),
                (DELETE, self._delete),
                (LOGS, self._logs),
                (ACTORS, self._actors),
                (RUNTIME_ENVS, self._runtime_envs),
                (NODES, self._nodes),
                (NODE_SUMMARY, self._node_summary),
                (CLUSTER_STATUS, self._cluster_status),
                (CLUSTER_EVENTS, self._cluster_events),
            ]
        )

    # Jobs

    async def _version(self, _: web.Request) -> web.Response:
        return web.json_response(
            {
                "version": "4",
                "ray_version": RAY_VERSION,
                "ray_commit": "0" * 40,
                "session_name": "session_stub",
            }
        )

    async def _submit(self, request: web.Request) -> web.Response:
        body = {name: value for name, value in (await request.json()).items() if value is not None}
        if problem := _problem_of(body):
            return text_answer(400, f"Traceback (most recent call last):\nTypeError: {problem}\n")
        job_id = body.get("submission_id") or body.get("job_id")
        job_id = job_id or "raysubmit_" + secrets.token_hex(8)
        if job_id in self.jobs:
            return text_answer(
                500,
                "Traceback (most recent call last):\nRuntimeError: Request failed with status code "
                "400: Traceback (most recent call last):\nValueError: Job with submission_id "
                f"{job_id} already exists. Please use a different submission_id.\n.\n",
            )
        log_name = _driver_log(job_id)
        if "/" in job_id or len(log_name) > _LONGEST_FILE_NAME:
            # Ray notes the job before it finds that it can't write its log.
            self._start_job(job_id, body, JobScript(pending=float("inf"), stop_delay=float("inf")))
            return text_answer(
                500, f"Traceback (most recent call last):\nOSError: {log_name!r}\n.\n"
            )
        script = self._scripts.get(job_id, self._scripts[None])
        if self._next_scripts:
            script = self._next_scripts.popleft()
        if missing := self._missing_package(body.get("runtime_env") or {}):
            script = runtime_env_failure(f"OSError: Failed to download … {missing} from the GCS")
        self._start_job(job_id, body, script)
        return web.json_response({"job_id": job_id, "submission_id": job_id})

    def _start_job(self, job_id: str, body: Mapping[str, Any], script: JobScript) -> StubJob:
        job = StubJob(
            job_id, request=body, script=script, agent_address=self.agent_url, clock=self._clock
        )
        self.jobs[job_id] = job
        return job

    def _missing_package(self, runtime_env: Mapping[str, Any]) -> str | None:
        uris = [runtime_env.get("working_dir"), *runtime_env.get("py_modules", [])]
        for uri in uris:
            if str(uri).startswith("gcs://") and uri not in self.packages:
                return str(uri)
        return None

    async def _list_jobs(self, _: web.Request) -> web.Response:
        return web.json_response([job.details() for job in self.jobs.values()])

    async def _get_job(self, request: web.Request) -> web.Response:
        job = self.jobs.get(request.match_info["job_id"])
        return web.json_response(job.details()) if job else _no_such_job(request)

    async def _stop(self, request: web.Request) -> web.Response:
        job = self.jobs.get(request.match_info["job_id"])
        return web.json_response({"stopped": job.request_stop()}) if job else _no_such_job(request)

    async def _delete(self, request: web.Request) -> web.Response:
        job = self.jobs.get(request.match_info["job_id"])
        if job is None:
            return _no_such_job(request)
        status = job.status
        if status in {"PENDING", "RUNNING"}:
            return text_answer(
                500,
                "Traceback (most recent call last):\nRuntimeError: Attempted to delete job "
                f"'{job.job_id}', but it is in a non-terminal state {status}.\n.\n",
            )
        # Its log stays behind, as on Ray.
        self.files[_driver_log(job.job_id)] = job.log
        del self.jobs[job.job_id]
        return web.json_response({"deleted": True})

    # The state of the cluster

    async def _actors(self, request: web.Request) -> web.Response:
        rows = [job.supervisor() for job in self.jobs.values()]
        return _state(request, rows)

    async def _runtime_envs(self, request: web.Request) -> web.Response:
        rows = [
            {
                "runtime_env": job.environment(),
                "success": None if job.is_installing else True,
                "creation_time_ms": None if job.is_installing else "3",
                "node_id": NODE_ID,
                "ref_cnt": "1",
                "error": None,
            }
            for job in self.jobs.values()
            if job.is_installing or job.status == "RUNNING"
        ]
        return _state(request, rows)

    async def _nodes(self, request: web.Request) -> web.Response:
        return _state(request, [node.row() for node in self.nodes])

    async def _node_summary(self, _: web.Request) -> web.Response:
        usage = {node.node_id: node.usage() for node in self.nodes if node.free is not None}
        return _told({"summary": [], "nodeLogicalResources": usage})

    async def _cluster_status(self, _: web.Request) -> web.Response:
        return _told({"clusterStatus": self.cluster_status})

    async def _cluster_events(self, request: web.Request) -> web.Response:
        return _state(request, [{"message": text} for text in self.cluster_events])

    # Packages

    async def _get_package(self, request: web.Request) -> web.Response:
        uri = "{protocol}://{name}".format(**request.match_info)
        if uri in self.packages:
            return web.Response()
        return text_answer(404, f"Package {uri} does not exist")

    async def _put_package(self, request: web.Request) -> web.Response:
        self.packages["{protocol}://{name}".format(**request.match_info)] = await request.read()
        return web.Response()

    # Files in the log folder

    def _file(self, name: str) -> bytes | None:
        job = self.jobs.get(name.removeprefix("job-driver-").removesuffix(".log"))
        if job is not None and name == _driver_log(job.job_id):
            return self.files.get(name, b"") + job.log
        return self.files.get(name)

    async def _logs(self, request: web.Request) -> web.StreamResponse:
        # Ray's dashboard has so many connections to the process that reads logs; who comes then
        # waits for one without an answer.
        while self.open_log_requests >= self.max_log_requests:
            await asyncio.sleep(_FOLLOW_INTERVAL)
        self.open_log_requests += 1
        self.most_log_requests = max(self.most_log_requests, self.open_log_requests)
        try:
            return await self._send_log(request)
        finally:
            self.open_log_requests -= 1

    async def _send_log(self, request: web.Request) -> web.StreamResponse:
        query = request.query
        lines = int(query.get("lines", "1000")) or 1000
        int(query.get("timeout", "30"))
        filename, node_id = query["filename"], query["node_id"]
        if not filename or not node_id:
            raise ValueError("Ray answers 500 here, and so does aiohttp for us")
        if node_id != NODE_ID:
            return text_answer(500, f"Agent for node id: {node_id} doesn't exist.")
        content = self._file(filename)
        if content is None:
            return text_answer(500, f"A file is not found at: {LOG_DIR}/{filename}")
        response = web.StreamResponse(
            headers={"Content-Disposition": 'attachment; filename="file.txt"'}
        )
        response.content_type = "text/plain"
        start = 0 if lines == -1 else len(content) - len(_last_lines(content, lines))
        await write_part(request, response, content[start:])
        if request.match_info["media_type"] == "stream":
            await self._follow(request, response, filename, len(content))
        return response

    async def _follow(
        self, request: web.Request, response: web.StreamResponse, filename: str, position: int
    ) -> None:
        # As on Ray, a client that leaves is noticed when there is something to send, and so never
        # if nobody writes to the file any more.
        while True:
            content = self._file(filename) or b""
            if len(content) > position:
                await write_part(request, response, content[position:])
                position = len(content)
            await asyncio.sleep(min(_FOLLOW_INTERVAL, float(request.query.get("interval", 1))))

    async def _agent_log(self, request: web.Request) -> web.Response:
        content = self._file(request.match_info["filename"])
        if content is None:
            return web.Response(status=404)
        headers = {"Accept-Ranges": "bytes"}
        if "Range" not in request.headers:
            return web.Response(body=content, headers=headers)
        start, stop, _ = request.http_range.indices(len(content))
        if start >= len(content):
            return web.Response(status=416, headers={"Content-Range": f"bytes */{len(content)}"})
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{len(content)}"
        return web.Response(status=206, body=content[start:stop], headers=headers)


def _state(request: web.Request, rows: list[dict[str, Any]]) -> web.Response:
    """Answer as Ray's state API does, with the filters of the request."""
    keys, values = (
        request.query.getall("filter_keys", []),
        request.query.getall("filter_values", []),
    )
    kept = [
        row
        for row in rows
        if all(row[key] == value for key, value in zip(keys, values, strict=True))
    ]
    shown = kept[: int(request.query.get("limit", "100"))]
    result = {
        "total": len(rows),
        "num_after_truncation": len(rows),
        "num_filtered": len(kept),
        "result": shown,
        "partial_failure_warning": "",
        "warnings": None,
    }
    return _told({"result": result})


def _told(data: dict[str, Any]) -> web.Response:
    return web.json_response({"result": True, "msg": "", "data": data})


def _driver_log(job_id: str) -> str:
    return f"job-driver-{job_id}.log"


def _no_such_job(request: web.Request) -> web.Response:
    return text_answer(404, f"Job {request.match_info['job_id']} does not exist")


def _problem_of(body: Mapping[str, Any]) -> str | None:
    if unknown := set(body) - _SUBMIT_FIELDS:
        return f"JobSubmitRequest.__init__() got an unexpected keyword argument '{min(unknown)}'"
    if "entrypoint" not in body:
        return "JobSubmitRequest.__init__() missing 1 required positional argument: 'entrypoint'"
    if not isinstance(body["entrypoint"], str):
        return f"entrypoint must be a string, got {type(body['entrypoint'])}"
    for value in body.get("metadata", {}).values():
        if not isinstance(value, str):
            return f"metadata values must be strings, got {type(value)}"
    return None


def _last_lines(content: bytes, count: int) -> bytes:
    return b"".join(content.splitlines(keepends=True)[-count:])


def encode(value: Any) -> bytes:
    """Return the JSON document of a value, e.g. for :attr:`StubDashboard.files`."""
    return json.dumps(value).encode()
