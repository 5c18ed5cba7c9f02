"""``airflow ray logs``, and the code that follows a job to its end."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections import deque

from airflow_synapse.cli import exits
from airflow_synapse.cli.cluster import again, executor_of, ref_of
from airflow_synapse.cli.exits import command, tell
from airflow_synapse.exceptions import RayJobFailedError
from airflow_synapse.hooks.cluster_ref import ClusterRef
from airflow_synapse.masking import for_terminal
from airflow_synapse.rayjobs.executor import RayJobExecutor
from airflow_synapse.rayjobs.job.outcome import Outcome
from airflow_synapse.rayjobs.models import JobInfo
from airflow_synapse.rayjobs.watching.job_watcher import WatchOptions


@command
def logs(args: Namespace) -> int:
    """Print a job's log."""
    executor = executor_of(args)
    if args.follow:
        return follow(executor, args.job_id, ref=ref_of(args), tail=args.tail)
    output = _Terminal() if sys.stdout.isatty() else sys.stdout.buffer
    info = executor.copy_log(args.job_id, output.write, last_lines=args.tail)
    output.flush()
    _tell_if_it_never_ran(info)
    return exits.OK


def follow(
    executor: RayJobExecutor, job_id: str, *, ref: ClusterRef, tail: int | None = None
) -> int:
    """Print the job's log until the job ends, and return the exit code for how it ended.

    :param ref: Its cluster, for the commands to suggest.
    :param tail: Begin with this many of the last lines.
    """
    exits.end_with_reader()
    try:
        with exits.telling_what_happens_to_jobs(), executor:
            return _tell_end(_follow(executor, job_id, tail))
    except KeyboardInterrupt:
        tell(
            f"\nNo longer following Ray job {job_id}, which keeps running.\n"
            f"  follow it: {again('logs --follow', job_id, ref)}\n"
            f"  stop it:   {again('stop', job_id, ref)}"
        )
        return exits.INTERRUPTED


def _follow(executor: RayJobExecutor, job_id: str, tail: int | None) -> Outcome:
    position = 0
    if tail:
        info, position = _print_tail(executor, job_id, tail)
        if info.is_terminal:
            return Outcome(job_id, executor.cluster.address, info)
    patience = WatchOptions.unreachable_timeout  # the default of tasks
    lines = executor.stream_logs(job_id, log_position=position, unreachable_timeout=patience)
    while True:
        try:
            _print_line(next(lines).encode())
        except StopIteration as end:  # carries the generator's return value
            outcome: Outcome = end.value
            return outcome


def _tell_end(outcome: Outcome) -> int:
    info, error = outcome.info, outcome.error()
    if error is not None:
        tell(error.verdict() if isinstance(error, RayJobFailedError) else str(error))
        return exits.code_of(error)
    took = info.duration if info is not None else None
    after = f" after {took:.0f} s" if took else ""
    tell(f"Ray job {outcome.job_id} {outcome.status}{after}.")
    return exits.OK


def _tell_if_it_never_ran(info: JobInfo) -> None:
    if info.driver_node_id is None:
        log = "no log" if info.is_terminal else "no log yet"
        tell(f"Ray job {info.job_id} is {info.status} and has {log}. {info.message or ''}".strip())


def _print_tail(executor: RayJobExecutor, job_id: str, count: int) -> tuple[JobInfo, int]:
    """Print the last complete lines, and return the job and the byte of the log after them."""
    tail = _Tail(count)
    info = executor.copy_log(job_id, tail.feed)
    for line in tail.lines:
        _print_line(line)
    return info, tail.position


def _print_line(line: bytes) -> None:
    """Print a line in UTF-8, whatever the terminal's encoding is; unchanged unless it is for a terminal."""
    if sys.stdout.isatty():
        line = _for_terminal(line)
    sys.stdout.buffer.write(line + b"\n")
    sys.stdout.buffer.flush()


def _for_terminal(line: bytes) -> bytes:
    return for_terminal(line.decode("utf-8", "backslashreplace")).encode()


class _Terminal:
    """Prints a log that arrives in chunks line by line, without codes that a terminal obeys."""

    def __init__(self) -> None:
        self._partial = bytearray()

    def write(self, chunk: bytes) -> None:
        self._partial += chunk
        end = self._partial.rfind(b"\n") + 1
        for line in bytes(self._partial[:end]).splitlines(keepends=True):
            sys.stdout.buffer.write(_for_terminal(line))
        del self._partial[:end]

    def flush(self) -> None:
        sys.stdout.buffer.write(_for_terminal(bytes(self._partial)))
        sys.stdout.buffer.flush()


class _Tail:
    """The last complete lines of a log that arrives in chunks, and the byte after them."""

    def __init__(self, count: int) -> None:
        self.lines: deque[bytes] = deque(maxlen=count)
        self.position = 0
        self._partial = bytearray()

    def feed(self, chunk: bytes) -> None:
        before = len(self._partial)
        self._partial += chunk
        end = self._partial.rfind(b"\n", before) + 1
        if not end:
            return
        self.lines.extend(bytes(self._partial[: end - 1]).split(b"\n"))
        del self._partial[:end]
        self.position += end
