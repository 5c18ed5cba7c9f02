"""``airflow ray submit``."""

from __future__ import annotations

import json
import shlex
import sys
import time
import uuid
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from airflow_synapse import settings
from airflow_synapse.cli import exits
from airflow_synapse.cli.cluster import again, executor_of, ref_of
from airflow_synapse.cli.exits import UsageError, command, tell
from airflow_synapse.cli.logs import follow
from airflow_synapse.cli.plugins.local_run import run_here
from airflow_synapse.exceptions import AirflowSynapseError, RayJobNotFoundError
from airflow_synapse.handover.job_metadata import DEPLOYMENT_KEY
from airflow_synapse.hooks.cluster_ref import ClusterRef
from airflow_synapse.rayjobs.executor import RayJobExecutor
from airflow_synapse.rayjobs.packing.preparation import PreparedJob

_MIB = 1024**2
_REDRAWN_EVERY = 0.1


@command
def submit(args: Namespace) -> int:
    """Run a plugin action or a shell command as a job."""
    _refuse_contradictions(args)
    executor = _executor(args)
    if args.local:
        what = f"Action {args.action!r}" if args.action else "The command"
        return run_here(_prepared(executor, args), name=what)
    job_id = args.job_id or f"airflow-cli-{uuid.uuid4().hex[:16]}"
    with _interruptible(executor, job_id, ref_of(args)) as sent:
        job = _prepared(executor, args)
        executor.submit_prepared(job, job_id, on_sent=lambda: sent.append(job_id))
        if not args.wait:
            print(job_id)  # noqa: T201  # what was asked for
            return exits.OK
        tell(f"Submitted Ray job {job_id} to {executor.cluster.address}.")
    return follow(executor, job_id, ref=ref_of(args))


@contextmanager
def _interruptible(executor: RayJobExecutor, job_id: str, ref: ClusterRef) -> Iterator[list[str]]:
    """Let Ctrl-C leave no job that the user does not know of, and say whether there is one.

    It yields a list, which must get the job's ID once the job may exist.
    """
    if sys.stderr.isatty():
        executor.on_upload = UploadDisplay(sys.stderr)
    sent: list[str] = []
    try:
        yield sent
    except KeyboardInterrupt:
        end = _stopped(executor, job_id, ref) if sent else "Nothing was submitted."
        tell(f"\nInterrupted. {end}")
        sys.exit(exits.INTERRUPTED)


def _stopped(executor: RayJobExecutor, job_id: str, ref: ClusterRef) -> str:
    """Stop the job, and return a sentence that says how that went."""
    try:
        if executor.stop(job_id):
            return f"Ray job {job_id} was stopped."
    except RayJobNotFoundError:
        return "Nothing was submitted."
    except (AirflowSynapseError, KeyboardInterrupt):
        return (
            f"Ray job {job_id} may be running.\n"
            f"  check it: {again('status', job_id, ref)}\n"
            f"  stop it:  {again('stop', job_id, ref)}"
        )
    return f"Ray job {job_id} had already ended."


def _executor(args: Namespace) -> RayJobExecutor:
    options: dict[str, Any] = {
        "working_dir": args.working_dir,
        "requirements_file": args.requirements_file,
        "package_manager": args.package_manager,
        "env": _environment(args.env),
        "runtime_env": _json_object(args.runtime_env, "--runtime-env"),
        "num_cpus": args.num_cpus,
        "num_gpus": args.num_gpus,
        "memory": args.memory,
        "resources": _json_object(args.resources, "--resources"),
        "metadata": {DEPLOYMENT_KEY: settings.deployment()},
    }
    if args.local:
        return RayJobExecutor("http://localhost", **options)  # prepares the job and sends nothing
    return executor_of(args, **options)


def _prepared(executor: RayJobExecutor, args: Namespace) -> PreparedJob:
    if args.entrypoint:
        return executor.prepare_entrypoint(shell_command(args.entrypoint))
    return executor.prepare_action(args.action, _json_object(args.params, "--params"))


def shell_command(words: Sequence[str]) -> str:
    """Return the words after ``--`` as a shell command. A single word already is one."""
    return words[0] if len(words) == 1 else shlex.join(words)


def _refuse_contradictions(args: Namespace) -> None:
    if args.action and args.entrypoint:
        raise UsageError("give either an action or a command after --, not both")
    if not args.action and not args.entrypoint:
        raise UsageError("give an action of the plugin in --working-dir, or a command after --")
    if args.local and args.job_id:
        raise UsageError("--job-id is only for jobs on a cluster, and --local runs none there")
    if args.entrypoint and args.params is not None:
        raise UsageError(
            "--params is only for actions; write a command's arguments into the command"
        )


def _environment(pairs: Sequence[str]) -> dict[str, str]:
    env: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not name or not equals:  # the text may be a secret
            raise UsageError(
                "--env takes NAME=VALUE; variables of this shell are not sent automatically"
            )
        env[name] = value
    return env


def _json_object(text: str | None, option: str) -> Mapping[str, Any] | None:
    """Return a JSON object from an argument, a file (``@name``) or standard input (``@-``).

    :raises UsageError: if it is not a JSON object. The error leaves the text out, as it may hold secrets.
    """
    if text is None:
        return None
    try:
        value = json.loads(_content(text))
    except OSError as exc:
        raise UsageError(f"{option}: {text[1:]} can't be read: {exc.strerror}") from exc
    except ValueError as exc:
        raise UsageError(f"{option} is not JSON ({exc})") from exc
    if not isinstance(value, dict):
        raise UsageError(
            f"{option} must be a JSON object, {{…}}, but is of type {type(value).__name__}"
        )
    return value


def _content(text: str) -> str:
    if text == "@-":
        return sys.stdin.read()
    return Path(text[1:]).read_text("utf-8") if text.startswith("@") else text


class UploadDisplay:
    """Shows the progress of an upload on a terminal.

    :param terminal: The terminal to write to.
    """

    def __init__(self, terminal: TextIO) -> None:
        self._terminal = terminal
        self._drawn_at = 0.0

    def __call__(self, sent: int, size: int) -> None:
        """Show how many bytes were sent, and how many there are."""
        is_done = sent >= size
        now = time.monotonic()
        if not is_done and now - self._drawn_at < _REDRAWN_EVERY:
            return
        self._drawn_at = now
        text = f"\rUploading: {sent / _MIB:.1f} of {size / _MIB:.1f} MiB"
        self._terminal.write(text + ("\n" if is_done else ""))
        self._terminal.flush()
