"""Heads of other paces: what is sent to them, how soon an end is known, and who else has to wait."""

from __future__ import annotations

import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.plan import Plan
from benchmarks.tables import Table, quantile
from benchmarks.watching import COLUMNS, add_row, measure, playing

_LOOK = 0.01
_SLOW_LOOK = 0.1
_LISTED_JOB = 0.0003
_POLL_INTERVAL = 1.0


def watch_heads(pythons: Mapping[str, Path]) -> list[Table]:
    """Watch jobs on heads that serve one request after the other."""
    return [_usual(pythons), _slow(pythons), _ceiling(pythons)]


def _usual(pythons: Mapping[str, Path]) -> Table:
    table = Table(
        "A head that takes 10 ms for a look",
        COLUMNS,
        "A list takes 10 ms and 0.3 ms per job, and all requests are served one after the other. 50 jobs "
        f"end each second. `poll_interval={_POLL_INTERVAL:g}`.",
    )
    for jobs, seconds in ((200, 30.0), (1_000, 35.0), (5_000, 60.0)):
        for kind, python in _without_bare(pythons).items():
            plan, found, _ = _watch(kind, python, jobs, _LOOK, seconds)
            ends = {job_id: plan.end_of(job_id) for job_id in plan.ids()}
            last = plan.starts_at + seconds - 12
            add_row(
                table, f"{kind}, {jobs:,}", found, {j: e for j, e in ends.items() if e and e < last}
            )
    return table


def _slow(pythons: Mapping[str, Path]) -> Table:
    table = Table(
        "A head that takes 100 ms for a look, and what somebody else's looks take meanwhile",
        (
            "who, jobs",
            "sent to it in a second, at most",
            "it bears",
            "somebody else's look at rest (s)",
            "meanwhile, on the average (s)",
            "p90 (s)",
        ),
        "A list takes 100 ms and 0.3 ms per job. Somebody else looks at one job every 0.7 s.",
    )
    for jobs in (20, 200):
        for kind, python in _without_bare(pythons).items():
            _, found, looks = _watch(kind, python, jobs, _SLOW_LOOK, 30.0)
            at_rest, meanwhile = looks
            table.add(
                f"{kind}, {jobs}",
                found["most_in_a_second"] if found else "gave up",
                1 / _SLOW_LOOK,
                quantile(at_rest, 0.5),
                sum(meanwhile) / max(1, len(meanwhile)),
                quantile(meanwhile, 0.9),
            )
    return table


def _ceiling(pythons: Mapping[str, Path]) -> Table:
    table = Table(
        "`requests_per_second = 10`",
        (
            "jobs",
            "requests/s on the average, logs included",
            "sent to the head in a second, at most",
        ),
        "On a head that takes 3 ms for a look. After a pause, two may go out at once.",
    )
    for jobs in (20, 200):
        _, found, _ = _watch(
            "ours", pythons["ours"], jobs, 0.003, 30.0, AIRFLOW__RAY__REQUESTS_PER_SECOND="10"
        )
        assert found is not None
        table.add(str(jobs), sum(found["requests_per_second"].values()), found["most_in_a_second"])
    return table


def _without_bare(pythons: Mapping[str, Path]) -> dict[str, Path]:
    return {kind: python for kind, python in pythons.items() if kind != "bare"}


def _watch(
    kind: str, python: Path, jobs: int, look: float, seconds: float, **settings: str
) -> tuple[Plan, dict[str, Any] | None, tuple[list[float], list[float]]]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plan = Plan(
            jobs=jobs,
            starts_at=time.time() + 8 + jobs / 1000,
            first_end=8.0,
            ends_per_second=50.0 if look < _SLOW_LOOK else 1.0,
            ends=jobs,
            seconds_per_look=look,
            seconds_per_list=look,
            seconds_per_listed_job=_LISTED_JOB,
        )
        plan.save(folder / "plan.json")
        with playing(folder) as url, _somebody_else(url, plan) as looks:
            found = measure(
                kind, python, url, folder, seconds, poll_interval=_POLL_INTERVAL, **settings
            )
    return plan, found, looks


@contextmanager
def _somebody_else(url: str, plan: Plan) -> Iterator[tuple[list[float], list[float]]]:
    """Look at a job now and then, and give how long that took before the watch and during it."""
    at_rest: list[float] = []
    meanwhile: list[float] = []
    is_over = threading.Event()

    def look() -> None:
        while not is_over.wait(0.7):
            began = time.time()
            try:
                with urllib.request.urlopen(f"{url}/api/jobs/load-0", timeout=30) as answer:
                    answer.read()
            except OSError:
                continue
            looks = at_rest if time.time() < plan.starts_at else meanwhile
            looks.append(time.time() - began)

    looking = threading.Thread(target=look)
    looking.start()
    try:
        yield at_rest, meanwhile
    finally:
        is_over.set()
        looking.join()
