"""What it costs to watch N jobs in one event loop, and how soon an end is known."""

from __future__ import annotations

import json
import socket
import subprocess
import tempfile
import time
import urllib.request
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from airflow_synapse.rayjobs import RayJobExecutor
from benchmarks.environments import OURS, clean_environment
from benchmarks.plan import Plan
from benchmarks.tables import Table, quantile
from local_services.ray_head import RayHead

POLL_INTERVAL = 5.0
SECONDS = 30.0
_GIVE_UP_AFTER = 240.0
COLUMNS = (
    "who, jobs",
    "longest block (s)",
    "blocked over 50 ms (s)",
    "end known after p50 (s)",
    "p99 (s)",
    "ends told",
    "requests/s",
    "CPU s/min",
    "memory (MB)",
    "log lines",
)
_HERE = Path(__file__).parent


def calibrate(head: RayHead) -> dict[str, float]:
    """Return how long a real dashboard is busy with a look and with each job of its list."""
    look = median(_seconds(f"{head.dashboard_url}/api/jobs/none-such") for _ in range(200))
    executor = RayJobExecutor(head.dashboard_url)
    few, before = len(executor.list_jobs()), _list_seconds(head)
    jobs = [executor.submit_entrypoint("true") for _ in range(20)]
    for job_id in jobs:
        executor.wait(job_id)
    per_job = max(0.0, (_list_seconds(head) - before) / (len(executor.list_jobs()) - few))
    return {"seconds_per_look": look, "seconds_per_listed_job": per_job}


def _list_seconds(head: RayHead) -> float:
    return median(_seconds(f"{head.dashboard_url}/api/jobs/") for _ in range(30))


def _seconds(url: str) -> float:
    began = time.perf_counter()
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            answer.read()
    except urllib.error.HTTPError:
        pass
    return time.perf_counter() - began


def watch_played(pythons: Mapping[str, Path], busy: Mapping[str, float]) -> list[Table]:
    """Watch jobs that a stub dashboard plays, as busy as the real one was found to be."""
    note = (
        f"Each job prints a line every 10 s; 10 jobs end each second. A look keeps the dashboard busy "
        f"for {busy['seconds_per_look'] * 1000:.1f} ms, each listed job for "
        f"{busy['seconds_per_listed_job'] * 1000:.2f} ms, as measured on a real Ray in this run. "
        f"`poll_interval={POLL_INTERVAL:g}`."
    )
    quiet = Table("Watched jobs, played by a stub dashboard", COLUMNS, note)
    for jobs in (10, 200, 1_000, 5_000):
        for kind, python in pythons.items():
            _watch_plan(quiet, kind, python, jobs, busy)
    chatty = Table(
        "1,000 watched jobs, 50 of which print 10,000 lines a second each",
        COLUMNS,
        "The rest as above.",
    )
    for kind, python in pythons.items():
        _watch_plan(chatty, kind, python, 1_000, busy, chatty=50)
    halved = Table(
        "500 watched jobs, and 500 more on a second cluster that accepts connections and never answers",
        COLUMNS,
        "The rest as above. Requests are those to the first cluster.",
    )
    for kind, python in pythons.items():
        if kind != "bare":
            _watch_plan(halved, kind, python, 500, busy, down=500)
    return [quiet, chatty, halved]


def _watch_plan(
    table: Table,
    kind: str,
    python: Path,
    jobs: int,
    busy: Mapping[str, float],
    *,
    down: int = 0,
    **more: Any,
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plan = Plan(jobs=jobs, starts_at=time.time() + 6 + jobs / 1000, **busy, **more)
        plan.save(folder / "plan.json")
        with playing(folder) as url:
            _add_jobs_on_the_other_cluster(folder / "plan.json", down)
            found = measure(kind, python, url, folder, SECONDS)
    ends = {job_id: plan.end_of(job_id) for job_id in plan.ids()}
    due = {job_id: end for job_id, end in ends.items() if end and end < plan.starts_at + 22}
    add_row(table, f"{kind}, {jobs:,}", found, due)


def _add_jobs_on_the_other_cluster(plan: Path, count: int) -> None:
    fields = json.loads(plan.read_text())
    fields["ids"] += [f"down-{number}" for number in range(count)]
    plan.write_text(json.dumps(fields))


@contextmanager
def playing(folder: Path) -> Iterator[str]:
    address = folder / "address.json"
    server = subprocess.Popen(
        [OURS, "-m", "benchmarks.load_cluster", folder / "plan.json", address],
        cwd=_HERE.parent,
        env=clean_environment(folder),
    )
    try:
        while not address.exists() or not address.read_text():
            if server.poll() is not None:
                raise RuntimeError("the played cluster did not start")
            time.sleep(0.05)
        yield json.loads(address.read_text())["url"]
    finally:
        server.kill()
        server.wait()


def watch_real(pythons: Mapping[str, Path], head: RayHead) -> Table:
    """Watch jobs on a real Ray that all end within half a second."""
    table = Table(
        "Watched jobs on a real Ray, on the same two cores",
        COLUMNS,
        "All jobs end within half a second, and Ray's own clock tells when. `poll_interval=1`.",
    )
    for jobs in (10, 50):
        for kind, python in pythons.items():
            if kind == "bare":
                continue
            with tempfile.TemporaryDirectory() as name:
                _watch_real(table, kind, python, head, jobs, Path(name))
    return table


def _watch_real(
    table: Table, kind: str, python: Path, head: RayHead, jobs: int, folder: Path
) -> None:
    executor = RayJobExecutor(head.dashboard_url)
    go = folder / "go"
    command = f"until [ -e {go} ]; do sleep 0.5; done"
    ids = [f"real-{uuid.uuid4().hex[:8]}" for _ in range(jobs)]
    with executor:
        for job_id in ids:
            executor.submit_entrypoint(command, job_id=job_id)
        while any(executor.get_status(job_id) == "PENDING" for job_id in ids):
            time.sleep(1)
    time.sleep(5)
    (folder / "plan.json").write_text(json.dumps({"ids": ids, "until_done": True}))
    found = measure(kind, python, head.dashboard_url, folder, 60.0, go=go, poll_interval=1.0)
    with executor:
        due = {job_id: (executor.get_info(job_id).end_time or 0) / 1000 for job_id in ids}
        for job_id in ids:
            executor.delete(job_id)
    add_row(table, f"{kind}, {jobs}", found, due)


def measure(
    kind: str,
    python: Path,
    url: str,
    folder: Path,
    seconds: float,
    *,
    go: Path | None = None,
    poll_interval: float = POLL_INTERVAL,
    **settings: str,
) -> dict[str, Any] | None:
    """Return what :mod:`benchmarks.watch_load` printed, None if it did not come to an end.

    :param settings: Further variables of its environment.
    """
    silent = socket.create_server(("127.0.0.1", 0), backlog=1)
    connections = {
        "AIRFLOW_CONN_BENCH": _connection(url),
        "AIRFLOW_CONN_BENCH_DOWN": _connection(f"http://127.0.0.1:{silent.getsockname()[1]}"),
    }
    command = [python, _HERE / "watch_load.py", kind, url, folder / "plan.json"]
    process = subprocess.Popen(
        [*command, str(poll_interval), str(seconds)],
        env=clean_environment(folder, **connections, **settings),
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        if go is not None:
            assert process.stdout is not None
            process.stdout.readline()
            time.sleep(10)
            go.touch()
        said, _ = process.communicate(timeout=_GIVE_UP_AFTER)
    except subprocess.TimeoutExpired:
        return None
    finally:
        process.kill()
        process.wait()
        silent.close()
    last = (said.splitlines() or [""])[-1]
    return json.loads(last) if last.startswith("{") else None


def _connection(url: str) -> str:
    return json.dumps({"conn_type": "ray", "host": url, "extra": {"address": url}})


def add_row(
    table: Table, name: str, found: dict[str, Any] | None, due: Mapping[str, float]
) -> None:
    if found is None:
        table.add(name, *(["gave up"] + ["-"] * (len(COLUMNS) - 2)))
        return
    delays = [found["events"][job_id] - due[job_id] for job_id in due if job_id in found["events"]]
    table.add(
        name,
        max(found["blocks"]),
        sum(block for block in found["blocks"] if block > 0.05),
        quantile(delays, 0.5),
        quantile(delays, 0.99),
        f"{len(delays)} of {len(due)}",
        sum(found["requests_per_second"].values()) or None,
        found["cpu_seconds_per_minute"],
        found["memory_mb"],
        found["log_lines"],
    )
