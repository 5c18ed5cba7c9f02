"""How commands end: what each exit code means to a script, and one sentence instead of a traceback.

====  ==============================================================================================
code  meaning
====  ==============================================================================================
0     done; with ``submit --wait`` and ``logs --follow``: the job SUCCEEDED
1     something unexpected; of ``check``, too: the cluster gave another log or result than it should
2     bad input: arguments, plugin, params, a job id that is taken; or Ray refused the job
3     the job FAILED
4     the job was STOPPED
5     the cluster does not know the job (any more), or its log is gone
6     the cluster is unreachable
7     the cluster refused the credentials
8     the connection can't be used: there is none, or its address or TLS settings are wrong
9     the job did not come to its end, or to its stop, in time
130   Ctrl-C; a job that was being followed goes on
141   what reads the output, such as ``head``, had enough of it; nothing is said then
====  ==============================================================================================
"""

from __future__ import annotations

import functools
import logging
import os
import sys
from argparse import Namespace
from collections.abc import Callable

from airflow_synapse.exceptions import (
    AirflowSynapseError,
    ExecutionError,
    RayAddressError,
    RayAuthenticationError,
    RayClusterUnreachableError,
    RayJobFailedError,
    RayJobNotFoundError,
    RayJobStoppedError,
    RayJobTimeoutError,
    RayLogNotFoundError,
)

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

_CODES: dict[type[AirflowSynapseError], int] = {
    RayJobFailedError: FAILED,
    RayJobStoppedError: STOPPED,
    RayJobNotFoundError: NOT_FOUND,
    RayLogNotFoundError: NOT_FOUND,
    RayClusterUnreachableError: UNREACHABLE,
    RayAuthenticationError: AUTHENTICATION,
    RayAddressError: CONNECTION,
    RayJobTimeoutError: TIMEOUT,
}

IN_HELP = """exit codes:
  0  done; where a job is followed: it SUCCEEDED
  1  something unexpected, as a log or result that is not what check wrote
  2  bad input, or Ray refused the job
  3  the job FAILED
  4  the job was STOPPED
  5  the cluster does not know the job, or its log is gone
  6  the cluster is unreachable
  7  the cluster refused the credentials
  8  the connection can't be used
  9  the job did not end, or stop, in time
  130  Ctrl-C; a job that was followed goes on
  141  what reads the output had enough of it"""


class UsageError(Exception):
    """Arguments that argparse takes and that make no sense, as a clause."""


def code_of(error: AirflowSynapseError) -> int:
    """Return the exit code that an error means. What is not named otherwise is bad input."""
    if type(error) is ExecutionError:  # and none of its kinds, which say what happened
        return UNEXPECTED
    for kind, code in _CODES.items():
        if isinstance(error, kind):
            return code
    return BAD_INPUT


def tell(text: str) -> None:
    """Tell a person something. Standard output is for what was asked for."""
    print(text, file=sys.stderr, flush=True)  # noqa: T201  # this is a command line


def command(run: Callable[[Namespace], int]) -> Callable[[Namespace], None]:
    """Make a function that returns an exit code one of Airflow's commands.

    Airflow's own ``action_cli`` is left out on purpose: it needs the metadata database, also where the
    connection comes from elsewhere, and writes all arguments, values of ``--env`` too, into its log.
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
            # The reader of a pipe has left; Python would complain once more when it closes stdout.
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            code = _BROKEN_PIPE
        if code:
            sys.exit(code)

    return wrapper


def _send_logs_to_stderr(*, is_verbose: bool) -> None:
    """Keep standard output free of log lines, and ours quiet unless they are asked for."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.StreamHandler) and handler.stream is sys.stdout:
            handler.setStream(sys.stderr)
    ours = logging.getLogger("airflow_synapse")
    ours.setLevel(logging.DEBUG if is_verbose else logging.WARNING)
