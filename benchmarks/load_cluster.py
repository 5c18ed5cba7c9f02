"""A dashboard and an agent that play a :class:`Plan`, in a process of their own.

The answers are those of the tests' stub dashboard, which contract tests compare with a real Ray. The
dashboard works on one request at a time, as Ray's does, for as long as a real one would.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

from aiohttp import web

from benchmarks.plan import LINE_BYTES, Plan, line
from tests.support.stub_dashboard import AGENT_LOG, GET_JOB, LIST_JOBS, LOGS, VERSION, StubDashboard
from tests.support.stub_jobs import JobScript, StubJob

_TAIL = "GET /api/jobs/{job_id}/logs/tail"
_STATS = "GET /stats"
_TAIL_INTERVAL = 1.0
"""Seconds between two chunks of Ray's log websocket (``JobLogStorageClient``)."""

_LINES_KEPT = 1_000_000


class _PlannedJob(StubJob):
    def __init__(self, job_id: str, plan: Plan, agent_url: str) -> None:
        request = {"entrypoint": "python train.py --config conf/base.yaml", "metadata": {}}
        super().__init__(job_id, request=request, script=JobScript(), agent_address=agent_url)
        self._plan = plan
        self._end = plan.end_of(job_id)
        self._wall_start = int(plan.starts_at * 1000)
        self._wall_end = int(self._end * 1000) if self._end else None

    @property
    def status(self) -> str:
        return "SUCCEEDED" if self._end is not None and time.time() >= self._end else "RUNNING"

    def details(self) -> dict[str, Any]:
        details = super().details()
        return details if details["status"] == "SUCCEEDED" else {**details, "end_time": None}

    def log_size(self) -> int:
        return self._plan.log_size(self.job_id, time.time())


class LoadCluster(StubDashboard):
    """The stub dashboard with planned jobs."""

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self._plan = plan
        self._busy = asyncio.Lock()
        self._counts: dict[str, int] = {}
        self._per_second: dict[int, int] = {}
        self._text = b"".join(
            line(number) for number in range(_LINES_KEPT if plan.chatty else 10_000)
        )
        self._first_call: float | None = None

    async def open_ports(self) -> None:
        self.agent_url = await self.serve([(AGENT_LOG, self._planned_agent_log)])
        self.url = await self.serve(
            [
                (VERSION, self._version),
                (LIST_JOBS, self._slow_list),
                (GET_JOB, self._slow_job),
                (LOGS, self._logs),
                (_TAIL, self._tail),
                (_STATS, self._stats),
            ]
        )
        for job_id in self._plan.ids():
            self.jobs[job_id] = _PlannedJob(job_id, self._plan, self.agent_url)

    def _note(self, route: str) -> None:
        self.calls.clear()
        self._counts[route] = self._counts.get(route, 0) + 1
        if route != "log":  # what the agents serve is no burden to the head
            second = int(time.monotonic())
            self._per_second[second] = self._per_second.get(second, 0) + 1

    async def _slow_job(self, request: web.Request) -> web.Response:
        self._note("status")
        async with self._busy:
            await asyncio.sleep(self._plan.seconds_per_look)
            return await self._get_job(request)

    async def _slow_list(self, request: web.Request) -> web.Response:
        self._note("list")
        async with self._busy:
            await asyncio.sleep(
                self._plan.seconds_per_list + self._plan.seconds_per_listed_job * len(self.jobs)
            )
            return await self._list_jobs(request)

    async def _planned_agent_log(self, request: web.Request) -> web.Response:
        self._note("log")
        name = request.match_info["filename"]
        size = self._size(name.removeprefix("job-driver-").removesuffix(".log"))
        start = request.http_range.start or 0
        if start >= size:
            return web.Response(status=416, headers={"Content-Range": f"bytes */{size}"})
        headers = {"Content-Range": f"bytes {start}-{size - 1}/{size}"}
        return web.Response(status=206, body=self._text[start:size], headers=headers)

    def _size(self, job_id: str) -> int:
        job = self.jobs[job_id]
        assert isinstance(job, _PlannedJob)
        return min(job.log_size(), len(self._text) // LINE_BYTES * LINE_BYTES)

    async def _tail(self, request: web.Request) -> web.WebSocketResponse:
        self._note("websocket")
        job_id = request.match_info["job_id"]
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        sent = 0
        while True:
            await asyncio.sleep(_TAIL_INTERVAL)
            size, has_ended = self._size(job_id), self.jobs[job_id].status != "RUNNING"
            if size > sent:
                await socket.send_str(self._text[sent:size].decode())
                sent = size
            elif has_ended:
                await socket.close()
                return socket

    async def _stats(self, _: web.Request) -> web.Response:
        most = max(self._per_second.values(), default=0)
        return web.json_response({**self._counts, "most in a second": most})


async def _serve(plan: Plan, address_file: Path) -> None:
    async with LoadCluster(plan) as cluster:
        address_file.write_text(json.dumps({"url": cluster.url}))
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve(Plan.load(Path(sys.argv[1])), Path(sys.argv[2])))
