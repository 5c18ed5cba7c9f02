"""How commands end: with an exit code for scripts, and a sentence instead of a traceback.

====  ==============================================================================================
code  meaning
====  ==============================================================================================
0     success; for ``submit --wait`` and ``logs --follow``: the job SUCCEEDED
1     an unexpected error; for ``check``, also: the cluster returned a wrong log or result
2     bad input: arguments, plugin, params, a submission ID in use; or Ray refused the job
3     the job FAILED
4     the job was STOPPED
5     the cluster does not know the job, or no longer does, or its log is gone
6     the cluster is unreachable
7     the cluster rejected the credentials
8     the connection can't be used: it does not exist, or its address or TLS settings are wrong
9     the job has not ended, or did not end or stop in time
130   Ctrl-C; a job that was being followed keeps running, one that was being submitted is stopped
141   the reader of the output, such as ``head``, stopped reading; there is no message then
====  ==============================================================================================
"""

from __future__ import annotations

import functools
import logging
import os
import select
import stat
import sys
import threading
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from airflow_synapse.exceptions import (
    AirflowSynapseError,
    ExecutionError,
    RayAddressError,
    RayAuthenticationError,
    RayClusterGoneError,
    RayClusterUnreachableError,
    RayJobFailedError,
    RayJobNotFoundError,
    RayJobStoppedError,
    RayJobTimeoutError,
    RayLogNotFoundError,
)
from airflow_synapse.masking import without_controls

OK = 0
UNEXPECTED = 1
BAD_INPUT = 2
FAILED = 3
STOPPED = 4
NOT_FOUND = 5
UNREACHABLE = 6
AUTHENTICATION = 7
CONNECTION = 8
TIMEOUT = 9
INTERRUPTED = 130
_BROKEN_PIPE = 141

_NOT_ENDED = ("PENDING", "RUNNING")  # not from our models, which every `airflow` command would load

_CODES: dict[type[AirflowSynapseError], int] = {
    RayJobFailedError: FAILED,
    RayJobStoppedError: STOPPED,
    RayJobNotFoundError: NOT_FOUND,
    RayLogNotFoundError: NOT_FOUND,
    RayClusterGoneError: NOT_FOUND,
    RayClusterUnreachableError: UNREACHABLE,
    RayAuthenticationError: AUTHENTICATION,
    RayAddressError: CONNECTION,
    RayJobTimeoutError: TIMEOUT,
}

IN_HELP = """exit codes:
  0  success; if a job was followed, it SUCCEEDED
  1  an unexpected error, such as a wrong log or result in check
  2  bad input, or Ray refused the job
  3  the job FAILED
  4  the job was STOPPED
  5  the cluster does not know the job, or its log or the cluster is gone
  6  the cluster is unreachable
  7  the cluster rejected the credentials
  8  the connection can't be used
  9  the job has not ended, or did not end or stop in time
  130  Ctrl-C; a job that was followed keeps running, one being submitted is stopped
  141  the reader of the output stopped reading"""


class UsageError(Exception):
    """Arguments that argparse accepts but that make no sense. Its text is a clause."""


def code_of(error: AirflowSynapseError) -> int:
    """Return the exit code of an error. Errors without a code of their own count as bad input."""
    if type(error) is ExecutionError:  # not a subclass, because those say what happened
        return TIMEOUT if getattr(error, "status", None) in _NOT_ENDED else UNEXPECTED
    for kind, code in _CODES.items():
        if isinstance(error, kind):
            return code
    return BAD_INPUT


def tell(text: str) -> None:
    """Tell the user something. Standard output is only for what the user asked for.

    :param text: It may repeat what a cluster said, so it reaches the terminal without codes for it.
    """
    print(without_controls(text), file=sys.stderr, flush=True)  # noqa: T201  # this is a command line


def command(run: Callable[[Namespace], int]) -> Callable[[Namespace], None]:
    """Turn a function that returns an exit code into an Airflow command.

    This does not use Airflow's ``action_cli``. That needs the metadata database even if the connection
    comes from elsewhere, and it logs all arguments, including the values of ``--env``.
    """

    @functools.wraps(run)
    def wrapper(args: Namespace) -> None:
        _send_logs_to_stderr(is_verbose=getattr(args, "verbose", False))
        try:
            code = run(args)
            sys.stdout.flush()
        except AirflowSynapseError as exc:
            tell(str(exc))
            code = code_of(exc)
        except UsageError as exc:
            tell(f"airflow ray: {exc}.")
            code = BAD_INPUT
        except KeyboardInterrupt:
            tell("Interrupted.")
            code = INTERRUPTED
        except BrokenPipeError:
            # The reader of the pipe has left, and Python would complain again when it closes stdout.
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            code = _BROKEN_PIPE
        if code:
            sys.exit(code)

    return wrapper


def end_with_reader() -> None:
    """End this process as soon as the reader of its output, such as ``head``, has left.

    Without this, a command that waits for the next line would notice it only then. Nothing is left to clean up.
    """
    try:
        output = sys.stdout.fileno()
    except (OSError, ValueError):  # no file, as in a test
        return
    if stat.S_ISFIFO(os.fstat(output).st_mode):
        threading.Thread(target=_end_with_reader, args=(output,), daemon=True).start()


def _end_with_reader(output: int) -> None:
    waiting = select.poll()
    waiting.register(output, 0)  # of itself, the kernel reports that no reader is left
    waiting.poll()
    os._exit(_BROKEN_PIPE)


class _Telling(logging.Handler):
    """Tells what is logged."""

    def emit(self, record: logging.LogRecord) -> None:
        tell(record.getMessage())


@contextmanager
def telling_what_happens_to_jobs() -> Iterator[None]:
    """Tell status changes and why a job waits, meanwhile: the log of a job that waits stays empty for long."""
    ours = logging.getLogger("airflow_synapse.rayjobs.base_executor")
    if ours.isEnabledFor(logging.INFO):  # they are shown already
        yield
        return
    handler, level, propagates = _Telling(), ours.level, ours.propagate
    ours.addHandler(handler)
    ours.setLevel(logging.INFO)
    ours.propagate = False
    try:
        yield
    finally:
        ours.removeHandler(handler)
        ours.setLevel(level)
        ours.propagate = propagates


def _send_logs_to_stderr(*, is_verbose: bool) -> None:
    """Keep log lines out of standard output, and show ours only if the user asks for them."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.StreamHandler) and handler.stream is sys.stdout:
            handler.setStream(sys.stderr)
    ours = logging.getLogger("airflow_synapse")
    ours.setLevel(logging.DEBUG if is_verbose else logging.WARNING)
