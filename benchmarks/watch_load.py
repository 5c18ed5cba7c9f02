"""Watch many jobs in one event loop, as a triggerer does, and print what that cost.

Runs by itself in the environment of what is measured: it imports nothing of this project but the
trigger, so that it can measure another provider's, too.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import resource
import sys
import time
import urllib.request
from pathlib import Path

TICK = 0.01


class _Count(logging.Handler):
    lines = 0

    def emit(self, record: logging.LogRecord) -> None:
        record.getMessage()
        _Count.lines += 1


def _our_trigger(job_id: str, poll_interval: float, _url: str):
    from airflow_synapse.triggers.ray_job import RayJobTrigger

    return RayJobTrigger(job_id, _cluster(job_id), poll_interval=poll_interval, fetch_result=False)


def _astro_trigger(job_id: str, poll_interval: float, _url: str):
    from ray_provider.triggers import RayJobTrigger

    return RayJobTrigger(job_id, _cluster(job_id), None, None, "", poll_interval=poll_interval)


def _cluster(job_id: str) -> str:
    return "bench_down" if job_id.startswith("down-") else "bench"


class _BareLoop:
    """The physical limit: a status loop with one session, without logs, errors or budget."""

    session = None

    def __init__(self, job_id: str, poll_interval: float, url: str) -> None:
        self._url = f"{url}/api/jobs/{job_id}"
        self._interval = poll_interval

    async def run(self):
        import aiohttp

        if _BareLoop.session is None:
            _BareLoop.session = aiohttp.ClientSession()
        while True:
            async with _BareLoop.session.get(self._url) as response:
                status = (await response.json())["status"]
            if status == "SUCCEEDED":
                yield status
                return
            await asyncio.sleep(self._interval)


_TRIGGERS = {"ours": _our_trigger, "astro": _astro_trigger, "bare": _BareLoop}


async def measure(kind: str, url: str, plan: dict, poll_interval: float, seconds: float) -> dict:
    blocks: list[float] = []
    events: dict[str, float] = {}

    async def tick() -> None:
        loop = asyncio.get_running_loop()
        while True:
            before = loop.time()
            await asyncio.sleep(TICK)
            blocks.append(loop.time() - before - TICK)

    async def watch(job_id: str) -> None:
        async for _ in _TRIGGERS[kind](job_id, poll_interval, url).run():
            events[job_id] = time.time()

    cpu_before, memory_before, began = _cpu(), _memory(), time.time()
    ticking = asyncio.create_task(tick())
    tasks = []
    for job_id in plan["ids"]:  # as ``TriggerRunner.create_triggers`` does
        tasks.append(asyncio.create_task(watch(job_id)))
        await asyncio.sleep(0)
    if plan.get("until_done"):
        await asyncio.wait(tasks, timeout=seconds)
    else:
        await asyncio.sleep(seconds)
    cpu, memory, took = _cpu() - cpu_before, _memory() - memory_before, time.time() - began
    ticking.cancel()
    counts = await asyncio.to_thread(_stats, url) if "starts_at" in plan else {}
    broken = await _end(tasks)
    return {
        "events": events,
        "blocks": sorted(blocks)[-200:],
        "ticks": len(blocks),
        "most_in_a_second": counts.pop("most in a second", 0),
        "requests_per_second": {name: count / took for name, count in counts.items()},
        "cpu_seconds_per_minute": cpu / took * 60,
        "memory_mb": memory,
        "log_lines": _Count.lines,
        "seconds": took,
        "broken": broken,
    }


async def _end(tasks: list) -> list[str]:
    """End all watches, and return what broke some."""
    for task in tasks:
        task.cancel()
    done, _ = await asyncio.wait(tasks, timeout=20)
    return [repr(task.exception()) for task in done if not task.cancelled() and task.exception()][
        :3
    ]


def _stats(url: str) -> dict:
    with urllib.request.urlopen(f"{url}/stats", timeout=60) as answer:
        return json.load(answer)


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _memory() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def main() -> None:
    kind, url, plan_file, poll_interval, seconds = sys.argv[1:6]
    plan = json.loads(Path(plan_file).read_text())
    if kind != "bare":
        from airflow.sdk import BaseHook
        from airflow.triggers.base import BaseTrigger

        # What Airflow does with a line comes on top and is measured elsewhere.
        log = logging.getLogger("bench")
        log.propagate = False
        log.setLevel(logging.INFO)
        log.addHandler(_Count())
        BaseTrigger.log = log
        BaseHook.get_connection("bench")  # a triggerer has loaded what reads connections, too
    time.sleep(max(0.0, plan.get("starts_at", 0.0) - time.time()))
    print("watching", flush=True)
    result = asyncio.run(measure(kind, url, plan, float(poll_interval), float(seconds)))
    print(json.dumps(result))


if __name__ == "__main__":
    main()
