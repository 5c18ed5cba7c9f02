"""Runs a prepared job in a process of this machine, as Ray would on a node."""

from __future__ import annotations

import asyncio
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from airflow_synapse.action_runtime.reports.surroundings import STORAGE_PATH
from airflow_synapse.exceptions import LocalRunFailedError, RayLogNotFoundError
from airflow_synapse.local.unpacking import UnpackedJob, unpack
from airflow_synapse.plugin.action import RUNTIME_ENTRYPOINT, RUNTIME_MODULE
from airflow_synapse.plugin.manifest import PACKAGE_MANAGERS
from airflow_synapse.rayjobs.client.jobs_api import JobsApi
from airflow_synapse.rayjobs.crossing import Crossing
from airflow_synapse.rayjobs.job.report_lines import JobReport
from airflow_synapse.rayjobs.job.reports import read_artifact, read_report
from airflow_synapse.rayjobs.job.results import no_result, read_result
from airflow_synapse.rayjobs.models import SUCCEEDED, JobInfo
from airflow_synapse.rayjobs.packing.preparation import PreparedJob

_JOB_ID = "local"
_OF_A_CLUSTER = ("RAY_ADDRESS", "RAY_JOB_CONFIG_JSON_ENV_VAR")
"""Variables that would lead the job to a cluster, or say that it runs on one."""

_READ_EVERY = 0.05
_TIME_TO_END = 3.0
"""Seconds between SIGTERM and SIGKILL, as Ray gives a job."""


@dataclass(frozen=True)
class LocalRun:
    """What a job left that ran on this machine.

    :param result: What the action returned, None for a command.
    :param report: What it reported.
    :param log: Its output.
    :param artifacts: The bytes of the files that it reported, by name.
    """

    result: Any = None
    report: JobReport = field(default_factory=JobReport)
    log: str = ""
    artifacts: Mapping[str, bytes] = field(default_factory=dict, repr=False)


def run_locally(
    job: PreparedJob, *, name: str, show: Callable[[bytes], object] | None = None
) -> LocalRun:
    """Run the job, and return what it left once it has ended.

    The job runs with this Python and what is installed here, because requirements are not installed. It
    runs in a copy of its files in a temporary folder, without those that would not be sent.

    :param name: What it runs, for errors.
    :param show: Takes the bytes of its log as they appear.
    :raises LocalRunFailedError: if it ends with another exit code than 0. The error has its log.
    :raises RayJobSubmissionError: if some of its code is not on this machine.
    """
    folder = Path(tempfile.mkdtemp(prefix="airflow-synapse-local-"))
    try:
        return _LocalJob(job, folder, name).run(show or (lambda _: None))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class _LocalJob:
    """A job's process, and its files in a temporary folder."""

    def __init__(self, job: PreparedJob, folder: Path, name: str) -> None:
        self._job = job
        self._folder = folder
        self._name = name
        self._logs = folder / "logs"
        self._logs.mkdir()
        self._files = cast("JobsApi", _Files(self._logs))  # all that is asked of it is a file
        self._log = self._logs / f"job-driver-{_JOB_ID}.log"  # by which the runtime knows its job

    def run(self, show: Callable[[bytes], object]) -> LocalRun:
        unpacked = unpack(self._job, self._folder)
        with self._log.open("wb") as output:
            process = subprocess.Popen(  # noqa: S602  # a shell command, as in a Ray job
                self._command(),
                shell=True,
                executable=shutil.which("bash") or "/bin/sh",
                cwd=unpacked.working_dir,
                env=self._environment(unpacked),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            self._follow(process, show)
        finally:
            _end(process)
        log = self._log.read_text("utf-8", "replace")
        if process.returncode:
            raise LocalRunFailedError(
                name=self._name,
                exit_code=process.returncode,
                log=log,
                requirements=tuple(self._requirements()),
            )
        with Crossing() as crossing:  # the caller may be on an event loop, as in an async test
            return crossing.call(lambda: self._left(log))

    def _command(self) -> str:
        if self._job.spec.entrypoint == RUNTIME_ENTRYPOINT:
            return f"exec {shlex.quote(sys.executable)} -m {RUNTIME_MODULE}"
        return self._job.spec.entrypoint

    def _environment(self, unpacked: UnpackedJob) -> dict[str, str]:
        path = [*map(str, unpacked.modules), os.environ.get("PYTHONPATH", "")]
        binaries = [str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]
        storage = self._folder / "storage"
        storage.mkdir()
        here = {name: value for name, value in os.environ.items() if name not in _OF_A_CLUSTER}
        return {
            "RAY_AUTH_MODE": "disabled",  # else `ray.init` would write a token into the user's home
            **here,
            "PATH": os.pathsep.join(binaries),
            STORAGE_PATH: str(storage),
            **self._job.spec.runtime_env.get("env_vars", {}),
            "PYTHONPATH": os.pathsep.join(filter(None, path)),
            "PYTHONUNBUFFERED": "1",
        }

    def _follow(self, process: subprocess.Popen[bytes], show: Callable[[bytes], object]) -> None:
        with self._log.open("rb") as log:
            while True:
                has_ended = process.poll() is not None
                if text := log.read():
                    show(text)
                if has_ended:
                    return
                try:
                    process.wait(_READ_EVERY)
                except subprocess.TimeoutExpired:
                    continue

    async def _left(self, log: str) -> LocalRun:
        metadata = self._job.spec.metadata
        info = JobInfo(_JOB_ID, SUCCEEDED, driver_node_id="here", metadata=metadata)
        report = await read_report(self._files, info)
        artifacts = {
            artifact.name: await read_artifact(self._files, info, artifact.name)
            for artifact in report.artifacts
        }
        return LocalRun(await self._result(info), report, log, artifacts)

    async def _result(self, info: JobInfo) -> Any:
        if self._job.spec.entrypoint != RUNTIME_ENTRYPOINT:
            return None
        try:
            return (await read_result(self._files, info) or {}).get("result")
        except RayLogNotFoundError as exc:
            raise no_result(info, exc, cluster="this machine") from exc

    def _requirements(self) -> Iterator[str]:
        env = self._job.spec.runtime_env
        for manager in PACKAGE_MANAGERS:
            yield from (env.get(manager) or {}).get("packages", ())


class _Files:
    """A job's files on this machine, for the functions that read those of a job on a cluster."""

    def __init__(self, logs: Path) -> None:
        self._logs = logs

    async def read_file(self, info: JobInfo, filename: str) -> AsyncGenerator[bytes, None]:
        """Yield a file. See :meth:`.JobsApi.read_file`."""
        try:
            data = await asyncio.to_thread((self._logs / filename).read_bytes)
        except OSError as exc:
            raise RayLogNotFoundError(job_id=info.job_id, reason="left no such file") from exc
        yield data


def _end(process: subprocess.Popen[bytes]) -> None:
    """End what is left of the job: it was interrupted, or its processes outlive it."""
    for how in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, how)
            process.wait(_TIME_TO_END)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue
