"""Finds out step by step whether a cluster can run our jobs and, if it can't, why.

Each step is tried whatever the others found, unless it needs one that failed. The steps send one small
package and one job that takes a second. The job is deleted afterwards.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass

from airflow_synapse.exceptions import (
    AirflowSynapseError,
    ExecutionError,
    RayAuthenticationError,
    RayJobTimeoutError,
    RayLogNotFoundError,
)
from airflow_synapse.plugin.function import FunctionSource
from airflow_synapse.rayjobs.client.answers import AgentUnusableError
from airflow_synapse.rayjobs.client.credentials.pace import IMPATIENT
from airflow_synapse.rayjobs.client.jobs_api import JobsApi, jobs_api
from airflow_synapse.rayjobs.job import stopping, submission
from airflow_synapse.rayjobs.job.failures import error_of
from airflow_synapse.rayjobs.job.results import read_result
from airflow_synapse.rayjobs.logs.reading import driver_log, read_last_lines
from airflow_synapse.rayjobs.models import PENDING, JobInfo, RayCluster
from airflow_synapse.rayjobs.packing.preparation import (
    JobRequest,
    PluginSource,
    PreparedJob,
    prepare_entrypoint,
    prepare_function,
)
from airflow_synapse.rayjobs.packing.resources import Resources
from airflow_synapse.rayjobs.ray_versions import OLDEST_RAY, is_too_old

OK = "ok"
WARN = "warn"
FAIL = "fail"
SKIPPED = "skipped"

_UPLOADS_NEED = (
    "If there is a proxy in front of the dashboard, make it allow PUT requests of 100 MiB to "
    "/api/packages/."
)
_FILES_NEED = (
    "The last lines of failed jobs and all results are read from /api/v0/logs/file. If there is a proxy, "
    "make it allow that path, and look at dashboard.log on the head node."
)
_OPEN_AGENTS = (
    "Logs are read through the dashboard instead, from their start each time. For long logs, let workers "
    "and triggerers reach the agent's port on all nodes (--dashboard-agent-listen-port)."
)

_POLL_INTERVAL = 0.5

_TEST_ACTION = FunctionSource(
    "check",
    """
import time

def check(marker):
    print(marker, flush=True)
    time.sleep(1)
    return marker
""",
)


@dataclass(frozen=True)
class Finding:
    """What one step found out.

    :param step: What was tried.
    :param verdict: :data:`OK`, :data:`WARN`, :data:`FAIL` or :data:`SKIPPED`.
    :param told: What was found, as a sentence.
    :param todo: What to do about it, if ``told`` does not already say so.
    :param seconds: How long it took.
    :param error: What was raised, if it failed.
    """

    step: str
    verdict: str
    told: str
    todo: str = ""
    seconds: float = 0.0
    error: AirflowSynapseError | None = None


@dataclass(frozen=True)
class _Found:
    told: str
    verdict: str = OK
    todo: str = ""


class _NotTriedError(Exception):
    """The step needs another step, which failed."""


async def diagnose(cluster: RayCluster, *, job_timeout: float = 60.0) -> AsyncIterator[Finding]:
    """Yield what each step finds out, as soon as it does.

    :param job_timeout: Seconds that the test job may take.
    """
    async with jobs_api(cluster, credential_pace=IMPATIENT) as api:
        diagnosis = _Diagnosis(api, job_timeout)
        try:
            for name, step, advice in diagnosis.steps():
                yield await _tried(name, step, advice)
        finally:
            await diagnosis.clean_up()


async def _tried(name: str, step: Callable[[], Awaitable[_Found]], advice: str) -> Finding:
    began = time.monotonic()
    error: AirflowSynapseError | None = None
    try:
        found = await step()
    except _NotTriedError as exc:
        found = _Found(f"Not tried, because it needs {exc}.", SKIPPED)
    except AirflowSynapseError as exc:
        found, error = _Found(str(exc), FAIL, advice), exc
    seconds = time.monotonic() - began
    return Finding(name, found.verdict, found.told, found.todo, seconds, error)


class _Diagnosis:
    """The steps, and what later steps need from earlier ones."""

    def __init__(self, api: JobsApi, job_timeout: float) -> None:
        self._api = api
        self._job_timeout = job_timeout
        self._job_id, self._marker = _new_names()
        self._answers = False
        self._version = ""
        self._is_let_in = False
        self._action: PreparedJob | None = None  # once its package is there
        self._job: JobInfo | None = None
        self._log_by_agent = b""

    def steps(self) -> tuple[tuple[str, Callable[[], Awaitable[_Found]], str], ...]:
        """Return the steps, each with advice for the case that its error gives none."""
        return (
            ("reachability", self._reach, ""),
            ("Ray version", self._compare_version, ""),
            ("authentication", self._ask_for_a_job, ""),
            ("package upload", self._upload, _UPLOADS_NEED),
            ("test job", self._run_job, ""),
            ("log over agent", self._read_by_agent, ""),
            ("log over dashboard", self._read_by_dashboard, _FILES_NEED),
            ("result", self._read_result, _FILES_NEED),
        )

    async def clean_up(self) -> None:
        """Stop the test job if it still runs, and make the cluster forget it."""
        if self._job is None:
            return
        with suppress(AirflowSynapseError):
            await stopping.stop(self._api, self._job_id)
            await self._api.delete(self._job_id)

    @property
    def _address(self) -> str:
        return self._api.cluster.address

    async def _reach(self) -> _Found:
        try:
            self._version = str((await self._api.get_version())["ray_version"])
        except RayAuthenticationError:
            self._answers = True
            return _Found(f"{self._address} answers and asks for credentials.")
        self._answers = True
        return _Found(f"{self._address} answers as a Ray dashboard.")

    async def _compare_version(self) -> _Found:
        if not self._version:
            raise _NotTriedError("an answer with the version")
        if is_too_old(self._version):
            todo = (
                f"Upgrade the cluster to Ray {OLDEST_RAY} or newer. Older ones can't serve results."
            )
            return _Found(f"The cluster runs Ray {self._version}.", WARN, todo)
        return _Found(
            f"The cluster runs Ray {self._version}. The oldest version that works is {OLDEST_RAY}."
        )

    async def _ask_for_a_job(self) -> _Found:
        if not self._answers:
            raise _NotTriedError("a cluster that answers")
        await self._api.find_info(self._job_id)
        self._is_let_in = True
        how = "with the connection's token" if self._api.cluster.has_token else "without a token"
        return _Found(f"The Jobs API accepts our requests {how}.")

    async def _upload(self) -> _Found:
        self._need_to_be_let_in()
        job = await asyncio.to_thread(self._test_action)  # it reads files
        for package in job.packages:
            await submission.upload(self._api, package)
        self._action = job
        return _Found("The dashboard accepted a package.")

    async def _run_job(self) -> _Found:
        """Run the test action, or a command if the action's package could not be sent."""
        self._need_to_be_let_in()
        job = self._action or self._test_command()
        await submission.submit(self._api, job.spec, self._job_id)
        began = time.monotonic()
        self._job = info = await self._ended(began + self._job_timeout)
        if not info.is_terminal:
            raise self._not_ended(info)
        lines: list[str] = []
        with suppress(AirflowSynapseError):
            lines = await read_last_lines(self._api, info)
        error = error_of(info, cluster=self._address, last_lines=lines)
        if error is not None:
            raise error
        what = "A plugin action" if self._action else "A command (without a package)"
        return _Found(f"{what} SUCCEEDED {time.monotonic() - began:.1f} s after its submission.")

    async def _read_by_agent(self) -> _Found:
        info = self._need_a_job_that_ran()
        address = info.driver_agent_http_address
        if not address:
            return _Found("Ray reports no agent on the job's node.", WARN, _OPEN_AGENTS)
        try:
            chunks = self._api.read_range(info, driver_log(info.job_id), 0)
            self._log_by_agent = await self._with_marker(chunks)
        except (AgentUnusableError, AirflowSynapseError):
            return _Found(f"The agent at {address} can't be used from here.", WARN, _OPEN_AGENTS)
        return _Found(f"The agent at {address} serves ranges of logs.")

    async def _read_by_dashboard(self) -> _Found:
        info = self._need_a_job_that_ran()
        chunks = self._api.read_file(info, driver_log(info.job_id))
        log = await self._with_marker(chunks)
        if not log.startswith(self._log_by_agent):
            raise ExecutionError(
                job_id=self._job_id,
                cluster=self._address,
                reason="has a log whose bytes differ between the dashboard and the job's node",
                hint=f"Ray before {OLDEST_RAY} causes this, and so may a proxy in front of the dashboard.",
            )
        return _Found("/api/v0/logs/file serves whole logs.")

    async def _with_marker(self, chunks: AsyncGenerator[bytes, None]) -> bytes:
        log = bytearray()
        async with aclosing(chunks) as parts:
            async for chunk in parts:
                log += chunk
        if self._marker.encode() not in log:
            raise RayLogNotFoundError(
                job_id=self._job_id,
                cluster=self._address,
                reason=f"printed a line that is missing in its log of {len(log)} bytes",
            )
        return bytes(log)

    async def _read_result(self) -> _Found:
        info = self._need_a_job_that_ran()
        if self._action is None:
            raise _NotTriedError("the package upload")
        document = await read_result(self._api, info)
        if document != {"result": self._marker}:
            raise ExecutionError(
                job_id=self._job_id,
                cluster=self._address,
                reason="left a result that it did not return",
            )
        return _Found("The action's return value arrived.")

    # What steps need

    def _need_to_be_let_in(self) -> None:
        if not self._is_let_in:
            raise _NotTriedError("a cluster that accepts our requests")

    def _need_a_job_that_ran(self) -> JobInfo:
        if self._job is None or self._job.driver_node_id is None:
            raise _NotTriedError("a test job that ran")
        return self._job

    # The test job

    def _test_action(self) -> PreparedJob:
        return prepare_function(
            PluginSource(), _nothing_special(), _TEST_ACTION, {"marker": self._marker}
        )

    def _test_command(self) -> PreparedJob:
        command = f"echo {self._marker} && sleep 1"
        return prepare_entrypoint(PluginSource(), _nothing_special(), command)

    async def _ended(self, deadline: float) -> JobInfo:
        """Return the job as it ended, or as it is at the deadline."""
        while True:
            self._job = info = await self._api.get_info(self._job_id)
            if info.is_terminal or time.monotonic() >= deadline:
                return info
            await asyncio.sleep(_POLL_INTERVAL)

    def _not_ended(self, info: JobInfo) -> RayJobTimeoutError:
        hint = "Check its log in the Ray dashboard."
        if info.status == PENDING:
            hint = (
                "Check whether the cluster has free resources (`ray status`) and other pending jobs, and "
                "look at runtime_env_agent.log on the nodes."
            )
        return RayJobTimeoutError(
            job_id=info.job_id,
            cluster=self._address,
            status=info.status,
            reason=f"should take a second, but is still {info.status} after {self._job_timeout:g} s",
            hint=hint,
        )


def _new_names() -> tuple[str, str]:
    """Return an ID for the test job, and a text for it to print and return that is not in the ID."""
    name = uuid.uuid4().hex
    return f"airflow-synapse-check-{name[:12]}", name[12:]


def _nothing_special() -> JobRequest:
    return JobRequest.of(Resources(), {}, {})
