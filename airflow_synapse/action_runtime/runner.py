"""Makes the call, writes the result and returns the exit code."""

from __future__ import annotations

import atexit
import os
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Optional

from .call import (
    JOB_PARAMETER,
    Call,
    RefusedCallError,
    asks_for_job,
    call_function,
    failed,
    load_target,
    read_call,
)
from .copies.keeping import LONGEST_TEXT, find_head
from .copies.storage import Storage, make_folder
from .job_log import JobLog, drop_broken_output, flush_output
from .log_folder import JobPlace, find_place
from .logging_default import show_info
from .ray_job import leave_own_package_out
from .reports.job_reports import JobReports
from .reports.surroundings import read_surroundings
from .results.result_file import take_place, write_result
from .results.result_json import result_text
from .synapse import is_synapse_action, run_synapse_action

SUCCEEDED = 0
FAILED = 1
REFUSED = 2

RESULT_KEY = "airflow_synapse_result"
"""Metadata: a copy of the file with a small result."""

_HERE = Path(__file__).parent
_RECURSION_LIMIT = 1_000  # Python's own: enough for us, and not too much for the C stack

_SILENT_SECONDS = 10.0

_MOST_COPIED = 64 * 1024 * 1024
"""Bytes that are copied to the head node, apart from those of a large result."""


def main() -> int:
    """Run the action that was sent along and return the exit code of the job.

    0: its result is written. 1: it raised. 2: it could not be called. The action's own exit codes
    pass through.
    """
    log = JobLog()
    log.show_crashes()
    atexit.register(drop_broken_output)  # the first to be registered is the last to be called
    return _Job(log, find_place()).run()


class _Job:
    """This process's job, from before the action's code runs until after it."""

    def __init__(self, log: JobLog, place: JobPlace) -> None:
        self.log, self.place = log, place
        self.pid = os.getpid()
        self.placeholder = take_place(place)
        surroundings = read_surroundings()
        path = surroundings.storage_path
        self.storage = Storage(path, place.mode, log.tell) if path else None
        make_folder(path, log.tell)
        self.reports = JobReports(place, log.tell, surroundings, self.storage)
        self.head = find_head(os.environ)

    def run(self) -> int:
        leave_own_package_out(os.environ)
        show_info()
        _put_plugin_first()
        try:
            value = self._run_action(read_call())
        except KeyboardInterrupt:  # somebody stops the job
            raise
        except BaseException as exc:  # noqa: BLE001  # the end of the job: logged, and an exit code
            value, code = None, self._tell(exc)
        else:
            code = SUCCEEDED
        if os.getpid() == self.pid:  # else a fork of the action came back to us
            self._leave(value, code)
            _tell_of_threads(self.log)
        return code

    def _run_action(self, call: Call) -> Any:
        target = load_target(call)
        if is_synapse_action(target):
            return run_synapse_action(target, call, self.place.job_id, self.reports.context)
        if asks_for_job(target, call):
            call = replace(call, params={**call.params, JOB_PARAMETER: self.reports.context})
        return call_function(target, call)

    def _tell(self, exc: BaseException) -> int:
        if isinstance(exc, RefusedCallError):
            self.log.tell(str(exc))
            return REFUSED
        if not isinstance(exc, SystemExit):
            _show_traceback(exc, self.log)
            return FAILED
        if not failed(exc):
            return SUCCEEDED
        if isinstance(exc.code, int):
            return exc.code
        self.log.write(f"{exc.code}\n")
        return FAILED

    def _leave(self, value: Any, code: int) -> None:
        self.log.reopen_closed_output()
        report = self.reports.end()
        if code != SUCCEEDED:
            if self.placeholder:
                self.placeholder.withdraw()
            warnings = self._copy(None, report)
        else:
            with _recursion_limit(_RECURSION_LIMIT):
                text, warnings = result_text(value)
                warnings += write_result(self.place, text, self.placeholder)
                warnings += self._copy(text, report)
        for warning in warnings:
            self.log.tell(warning)

    def _copy(self, result: Optional[str], report: list[Path]) -> list[str]:
        """Let the result and the report outlive this node. Returns the warnings to log."""
        file = self.place.result_file if result is not None else None
        files = [file, *report] if file else report
        if self.storage is not None and files:
            self.storage.keep(files)
        if self.head is None or not files:
            return []
        if result is None or len(result.encode()) > LONGEST_TEXT:
            return self.head.keep(self.place, files=_not_too_much(files))
        return self.head.keep(self.place, texts={RESULT_KEY: result}, files=_not_too_much(report))


def _not_too_much(files: list[Path]) -> list[Path]:
    """Return the result and the report, and of its artifacts as many as the time is enough for."""
    kept, size = [], 0
    for file in files:
        with suppress(OSError):
            size += file.lstat().st_size
            if file.suffix or size <= _MOST_COPIED:
                kept.append(file)
    return kept


def _tell_of_threads(log: JobLog) -> None:
    """Log why the job does not end, if it does not: Python waits for the action's threads."""
    main = threading.main_thread()
    threads = [t for t in threading.enumerate() if not t.daemon and t is not main]

    def tell() -> None:
        names = ", ".join(repr(thread.name) for thread in threads if thread.is_alive())
        log.tell(
            f"the action has ended, but the job waits for threads that it left running: {names}"
        )

    if threads:
        with suppress(Exception):
            timer = threading.Timer(_SILENT_SECONDS, tell)
            timer.daemon = True
            timer.start()


def _put_plugin_first() -> None:
    folder = str(Path.cwd())
    sys.path[:] = [folder, *(path for path in sys.path if path not in ("", folder))]


@contextmanager
def _recursion_limit(limit: int) -> Iterator[None]:
    # A lower one breaks our encoder, a higher one lets deep values break the process.
    earlier = sys.getrecursionlimit()
    sys.setrecursionlimit(limit)
    yield
    sys.setrecursionlimit(earlier)


def _show_traceback(exc: BaseException, log: JobLog) -> None:
    """Show it as Python would, and write it ourselves if that did not reach the log."""
    flush_output()
    rest = _of_the_action(exc.__traceback__)
    BaseException.with_traceback(exc, rest)  # not the exception's own, which may be frozen
    if not _hook_shows(exc, log):
        log.write("".join(traceback.format_exception(type(exc), exc, rest)))


def _hook_shows(exc: BaseException, log: JobLog) -> bool:
    before = log.size()
    try:
        if sys.excepthook is sys.__excepthook__ and sys.stderr is not log.stream:
            return False
        sys.excepthook(type(exc), exc, exc.__traceback__)
    except BaseException:  # noqa: BLE001  # the action's hook may raise anything
        return False
    flush_output()
    return before is None or before != log.size()


def _of_the_action(trace: Optional[TracebackType]) -> Optional[TracebackType]:
    # The frames after our last one, or all of them if there are none.
    rest, step = trace, trace
    while step is not None:
        if Path(step.tb_frame.f_code.co_filename).parent == _HERE:
            rest = step.tb_next
        step = step.tb_next
    return rest or trace
