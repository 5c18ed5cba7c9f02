"""How fast a long log is read, how late a line of a running job comes, and where the time goes."""

from __future__ import annotations

import io
import json
import logging
import shlex
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

from airflow_synapse.rayjobs import RayJobExecutor
from airflow_synapse.rayjobs.logs.lines import LineAssembler
from benchmarks.environments import OURS, clean_environment
from benchmarks.tables import Table, number, quantile, ratio
from local_services.ray_head import RayHead

_LINES = 1_000_000
_LINE = "line %094d"
_LOGGED = 50_000
_REPEATS = 3
_HERE = Path(__file__).parent


def read_long_log(head: RayHead) -> Table:
    """Read a million lines of an ended job on a real Ray."""
    executor = RayJobExecutor(head.dashboard_url)
    code = f"for number in range({_LINES}): print({_LINE!r} % number)"
    job_id = executor.submit_entrypoint(f"python -c {shlex.quote(code)}")
    executor.wait(job_id, timeout_seconds=120)
    table = Table(
        f"A log of {_LINES:,} lines, 100 MB, of an ended job on a real Ray",
        ("how", "seconds", "of the raw download", "lines", "CPU s", "peak memory (MB)"),
        f"Medians of {_REPEATS}; astro's way is the websocket that Ray's client reads.",
    )
    found: dict[str, list[dict[str, Any]]] = {"raw": [], "ours": [], "astro": []}
    for _ in range(_REPEATS):
        for kind, results in found.items():
            results.append(_read(kind, head, job_id))
    raw = _median(found["raw"], "seconds")
    for kind, results in found.items():
        seconds = _median(results, "seconds")
        lines, cpu, peak = (_median(results, key) for key in ("lines", "cpu", "peak_mb"))
        table.add(kind, seconds, ratio(seconds, raw), int(lines), cpu, peak)
    return table


def follow_live_log(head: RayHead) -> Table:
    """Read lines of a running job that tell when they were printed."""
    executor = RayJobExecutor(head.dashboard_url)
    code = (
        "import time\n"
        "for _ in range(100): print('stamp', time.time(), flush=True); time.sleep(0.2)\n"
    )
    table = Table(
        "How late a line of a running job comes, on a real Ray",
        ("how", "p50 (s)", "p99 (s)", "lines"),
        "A line every 0.2 s for 20 s.",
    )
    for kind in ("ours", "astro"):
        job_id = executor.submit_entrypoint(f"python -c {shlex.quote(code)}")
        while executor.get_status(job_id) == "PENDING":
            time.sleep(0.1)
        found = _read(kind, head, job_id)
        delays = found["delays"]
        table.add(kind, quantile(delays, 0.5), quantile(delays, 0.99), len(delays))
    return table


def split_a_line_s_way() -> Table:
    """Time each step that a line goes through in a triggerer's process, on the same million lines."""
    data = b"".join(b"%s\n" % (_LINE % n).encode() for n in range(_LINES))
    table = Table(
        "Where the time of a line goes in the process of the triggerer",
        ("step", "µs per line", "whose"),
        "What Airflow's supervisor then does with it in its own process is told below.",
    )
    table.add(
        "count line ends, the least that reading is", _per_line(lambda: data.count(b"\n")), "-"
    )
    table.add("decode and split into lines", _per_line(lambda: _assemble(data)), "ours")
    table.add("log it as JSON into the channel", _per_line(_log_all, _LOGGED), "Airflow's")
    return table


def _assemble(data: bytes) -> None:
    assembler = LineAssembler()
    for start in range(0, len(data), 64 * 1024):
        assembler.feed(data[start : start + 64 * 1024], 0.0)


def _log_all() -> None:
    """Log lines as a triggerer's process does, into a buffer instead of the socket."""
    import structlog
    from airflow.sdk.log import configure_logging

    before, handlers = structlog.get_config(), logging.root.handlers[:]
    configure_logging(output=io.BytesIO(), sending_to_supervisor=True)
    try:
        logger = structlog.get_logger("airflow_synapse.triggers.ray_job.RayJobTrigger")
        for count in range(_LOGGED):
            line = _LINE % count
            logger.info(line)
    finally:
        structlog.configure(**before)
        logging.root.handlers[:] = handlers


def _per_line(step: Callable[[], Any], lines: int = _LINES) -> str:
    began = time.perf_counter()
    step()
    return number((time.perf_counter() - began) / lines * 1e6)


def _read(kind: str, head: RayHead, job_id: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as home:
        done = subprocess.run(
            [OURS, _HERE / "read_log.py", kind, head.dashboard_url, job_id],
            env=clean_environment(Path(home)),
            capture_output=True,
            text=True,
            check=True,
        )
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def _median(results: list[dict[str, Any]], key: str) -> float:
    return float(median(result[key] for result in results))
