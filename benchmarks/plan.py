"""What the jobs of a load test do. Known to the cluster, which plays it, and to who measures."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

LINE_BYTES = 100


@dataclass(frozen=True)
class Plan:
    """Jobs that run, some of which end.

    :param jobs: How many.
    :param starts_at: When the first of them starts to print, in seconds since the epoch.
    :param first_end: Seconds from there to the first end.
    :param ends_per_second: How many jobs end each second from then on.
    :param ends: How many end at all.
    :param lines_per_second: What an ordinary job prints.
    :param chatty: How many jobs print a lot.
    :param chatty_lines_per_second: What such a job prints.
    :param seconds_per_look: How long a look at a status keeps the dashboard busy.
    :param seconds_per_list: How long a list does, whatever the number of jobs.
    :param seconds_per_listed_job: How long each job of the list does on top of that.
    """

    jobs: int
    starts_at: float
    first_end: float = 10.0
    ends_per_second: float = 10.0
    ends: int = 200
    lines_per_second: float = 0.1
    chatty: int = 0
    chatty_lines_per_second: float = 10_000.0
    seconds_per_look: float = 0.003
    seconds_per_list: float = 0.0
    seconds_per_listed_job: float = 0.00034

    def ids(self) -> list[str]:
        return [f"load-{number}" for number in range(self.jobs)]

    def end_of(self, job_id: str) -> float | None:
        """When the job ends, None if never. The chatty ones, which come last, go on."""
        number = _number(job_id)
        if number >= min(self.ends, self.jobs - self.chatty):
            return None
        return self.starts_at + self.first_end + number / self.ends_per_second

    def log_size(self, job_id: str, now: float) -> int:
        """How many bytes the job has printed by then."""
        is_chatty = _number(job_id) >= self.jobs - self.chatty
        rate = self.chatty_lines_per_second if is_chatty else self.lines_per_second
        end = self.end_of(job_id)
        seconds = max(0.0, (min(now, end) if end is not None else now) - self.starts_at)
        return (1 + int(seconds * rate)) * LINE_BYTES

    def save(self, path: Path) -> None:
        path.write_text(json.dumps({**asdict(self), "ids": self.ids()}))

    @classmethod
    def load(cls, path: Path) -> Plan:
        fields = json.loads(path.read_text())
        del fields["ids"]
        return cls(**fields)


def line(number: int) -> bytes:
    """One line of a log."""
    return b"line %094d\n" % number


def _number(job_id: str) -> int:
    return int(job_id.rpartition("-")[2])
