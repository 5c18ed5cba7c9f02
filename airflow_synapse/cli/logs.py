"""``airflow ray logs``, and how a job is followed to its end."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections import deque

from airflow_synapse.cli import exits
from airflow_synapse.cli.cluster import again, executor_of
from airflow_synapse.cli.exits import command, tell
from airflow_synapse.exceptions import LAST_LINES, RayJobFailedError
from airflow_synapse.rayjobs.executor import RayJobExecutor
from airflow_synapse.rayjobs.job.failures import error_of
from airflow_synapse.rayjobs.models import JobInfo
from airflow_synapse.rayjobs.watching.job_watcher import WatchOptions


@command
def logs(args: Namespace) -> int:
    """Print a job's log."""
    executor = executor_of(args.conn_id)
    if args.follow:
        return follow(executor, args.job_id, conn_id=args.conn_id, tail=args.tail)
    info = executor.copy_log(args.job_id, sys.stdout.buffer.write, last_lines=args.tail)
    sys.stdout.buffer.flush()
    _tell_if_it_never_ran(info)
    return exits.OK


def follow(executor: RayJobExecutor, job_id: str, *, conn_id: str, tail: int | None = None) -> int:
    """Print the job's log until it ends, and return the exit code that its end means.

    :param tail: Begin with so many last lines of what there is.
    """
    last_lines: deque[str] = deque(maxlen=LAST_LINES)
    try:
        position = _print_tail(executor, job_id, tail) if tail else 0
        _tell_if_it_never_ran(executor.get_info(job_id))
        patience = WatchOptions.unreachable_timeout  # as tasks have it by default
        lines = executor.stream_logs(job_id, log_position=position, unreachable_timeout=patience)
        for line in lines:
            _print_line(line.encode())
            last_lines.append(line)
        info = executor.get_info(job_id)
    except KeyboardInterrupt:
        tell(
            f"\nNo longer following Ray job {job_id}, which goes on.\n"
            f"  follow it: {again('logs --follow', job_id, conn_id)}\n"
            f"  stop it:   {again('stop', job_id, conn_id)}"
        )
        return exits.INTERRUPTED
    return _tell_end(info, executor.cluster.dashboard_url, last_lines)


def _tell_end(info: JobInfo, cluster: str, last_lines: deque[str]) -> int:
    error = error_of(info, cluster=cluster, last_lines=last_lines)
    if error is None:
        took = ((info.end_time or 0) - (info.start_time or 0)) / 1000
        tell(
            f"Ray job {info.job_id} {info.status}" + (f" after {took:.0f} s." if took > 0 else ".")
        )
        return exits.OK
    tell(error.verdict() if isinstance(error, RayJobFailedError) else str(error))
    return exits.code_of(error)


def _tell_if_it_never_ran(info: JobInfo) -> None:
    if info.driver_node_id is None:
        yet = "no log" if info.is_terminal else "no log yet"
        tell(f"Ray job {info.job_id} is {info.status} and has {yet}. {info.message or ''}".strip())


def _print_tail(executor: RayJobExecutor, job_id: str, count: int) -> int:
    """Print the last whole lines there are, and return the byte of the log after them."""
    tail = _Tail(count)
    executor.copy_log(job_id, tail.feed)
    for line in tail.lines:
        _print_line(line)
    return tail.position


def _print_line(line: bytes) -> None:
    """Print a line in UTF-8, as it came, whatever the terminal's encoding is."""
    sys.stdout.buffer.write(line + b"\n")
    sys.stdout.buffer.flush()


class _Tail:
    """The last whole lines of a log that comes in chunks, and the byte after them."""

    def __init__(self, count: int) -> None:
        self.lines: deque[bytes] = deque(maxlen=count)
        self.position = 0
        self._partial = b""

    def feed(self, chunk: bytes) -> None:
        *lines, self._partial = (self._partial + chunk).split(b"\n")
        self.lines.extend(lines)
        self.position += sum(len(line) + 1 for line in lines)
