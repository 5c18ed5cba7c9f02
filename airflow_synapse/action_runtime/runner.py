"""Makes the call, tells how it went by the exit code and leaves the result."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Optional

from .call import Call, RefusedCallError, call_function, load_target, read_call
from .result_file import JobPlace, find_place, warn, write_result
from .result_json import result_text
from .synapse import is_synapse_action, run_synapse_action

SUCCEEDED = 0
FAILED = 1
REFUSED = 2

_HERE = Path(__file__).parent


def main() -> int:
    """Run the action that was sent along and return the exit code of the job.

    0: its result is written. 1: it raised. 2: it could not be called. An exit that the action
    asks for itself passes through.
    """
    place, pid = find_place(), os.getpid()
    _put_plugin_first()
    try:
        value = _run(read_call(), place)
    except RefusedCallError as exc:
        warn(str(exc))
        return REFUSED
    except SystemExit as exc:
        if not exc.code:
            _leave_result(place, pid, None)
        raise
    except Exception as exc:  # noqa: BLE001  # the door of the job: told in full, exit code 1
        _show_traceback(exc)
        return FAILED
    _leave_result(place, pid, value)
    return SUCCEEDED


def _put_plugin_first() -> None:
    folder = str(Path.cwd())
    sys.path[:] = [folder, *(path for path in sys.path if path not in ("", folder))]


def _run(call: Call, place: JobPlace) -> Any:
    target = load_target(call)
    if is_synapse_action(target):
        return run_synapse_action(target, call, place.job_id)
    return call_function(target, call)


def _leave_result(place: JobPlace, pid: int, value: Any) -> None:
    if os.getpid() != pid:  # a fork of the action came back to us: the result is its parent's
        return
    text, warnings = result_text(value)
    for warning in warnings:
        warn(warning)
    write_result(place, text)


def _show_traceback(exc: Exception) -> None:
    sys.stdout.flush()
    exc.__traceback__ = _of_the_action(exc.__traceback__)
    sys.excepthook(type(exc), exc, exc.__traceback__)
    sys.stderr.flush()


def _of_the_action(traceback: Optional[TracebackType]) -> Optional[TracebackType]:
    # What comes after the last frame of ours; all of it, if nothing does.
    rest, step = traceback, traceback
    while step is not None:
        if Path(step.tb_frame.f_code.co_filename).parent == _HERE:
            rest = step.tb_next
        step = step.tb_next
    return rest or traceback
