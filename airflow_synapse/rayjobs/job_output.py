"""What synchronous code can read of a job: its log and its report."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import replace

from airflow_synapse.rayjobs.client.jobs_api import JobsApi
from airflow_synapse.rayjobs.cluster_calls import ClusterCalls
from airflow_synapse.rayjobs.job.report_lines import JobReport
from airflow_synapse.rayjobs.job.reports import read_artifact, read_report
from airflow_synapse.rayjobs.logs.reading import read_last_lines, read_log
from airflow_synapse.rayjobs.models import JobInfo
from airflow_synapse.rayjobs.reporting import Emit, Logger
from airflow_synapse.rayjobs.watching.log_follower import read_new_lines

_LONGEST_LOOK = 10.0
"""Seconds that :meth:`JobOutput.read_new_lines` may wait for the next bytes of a log."""


class JobOutput(ClusterCalls):
    """What jobs have printed and reported so far."""

    def get_logs(self, job_id: str) -> str:
        """Return the whole log of the job so far, or Ray's message if it never had one.

        :raises RayJobNotFoundError: if the cluster does not know the job.
        :raises RayLogNotFoundError: if the log or its node is gone.
        """
        log_bytes = bytearray()
        info = self.copy_log(job_id, log_bytes.extend)
        if info.driver_node_id is None:
            return info.message or ""
        return log_bytes.decode("utf-8", "backslashreplace")

    def copy_log(
        self, job_id: str, write: Callable[[bytes], object], *, last_lines: int | None = None
    ) -> JobInfo:
        """Pass the job's log so far to ``write``, piece by piece, and return the job.

        :param write: Called with the next bytes, on another thread. A job that never ran has no log.
        :param last_lines: Pass only this many lines from the end.
        :raises RayJobNotFoundError: if the cluster does not know the job.
        :raises RayLogNotFoundError: if the log or its node is gone.
        """

        async def copy(api: JobsApi) -> JobInfo:
            info = await api.get_info(job_id)
            if info.driver_node_id is not None:
                async with aclosing(read_log(api, info, last_lines=last_lines)) as chunks:
                    async for chunk in chunks:
                        await asyncio.to_thread(write, chunk)
            return info

        return self._call(copy, is_bounded=False)

    def get_last_lines(self, job_id: str) -> list[str]:
        """Return the last lines of the job's log, or of Ray's message if it never had one.

        This tries only once, whatever ``unreachable_timeout`` is, because the lines are an addition to an
        error that has already happened.
        """

        async def read(api: JobsApi) -> list[str]:
            return await read_last_lines(api, await api.get_info(job_id))

        return self._call(read, is_patient=False)

    def get_report(self, job_id: str) -> JobReport:
        """Return what the job has reported so far: its progress, metrics, artifacts and messages.

        A job that has reported nothing has an empty report. If its node is gone, so is the report; then a
        message in it says so.

        :raises RayJobNotFoundError: if the cluster does not know the job.
        """

        async def read(api: JobsApi) -> JobReport:
            info = await api.get_info(job_id)
            return await read_report(api, info, storage=self.storage_path)

        return self._call(read, is_bounded=False)

    def get_artifact(self, job_id: str, name: str) -> bytes:
        """Return a file that the job's action has kept with its report.

        :raises RayJobNotFoundError: if the cluster does not know the job.
        :raises RayLogNotFoundError: if the job has reported no such artifact, or it is gone.
        """

        async def read(api: JobsApi) -> bytes:
            info = await api.get_info(job_id)
            return await read_artifact(api, info, name, storage=self.storage_path)

        return self._call(read, is_bounded=False)

    def read_new_lines(self, info: JobInfo, *, position: int, emit: Emit, logger: Logger) -> int:
        """Pass the job's log from a byte onwards to ``emit``, and return the byte to continue from.

        See :func:`airflow_synapse.rayjobs.watching.log_follower.read_new_lines`.
        """
        timeout = min(self.cluster.request_timeout, _LONGEST_LOOK)

        async def read() -> int:
            async with self._watching(replace(self.cluster, request_timeout=timeout)) as watch:
                return await read_new_lines(
                    watch, info, position=position, emit=emit, logger=logger
                )

        return self._cross(read)
