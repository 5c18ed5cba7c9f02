"""A job's context for the unit test of an action function."""

from __future__ import annotations

import shutil
import tempfile
import warnings
import weakref
from collections.abc import Sequence
from pathlib import Path

from airflow_synapse.action_runtime.log_folder import JobPlace
from airflow_synapse.action_runtime.reports.context import JobContext as _JobContext
from airflow_synapse.action_runtime.reports.job_reports import JobReports
from airflow_synapse.action_runtime.reports.surroundings import AirflowRun, Surroundings
from airflow_synapse.rayjobs.job.report_lines import JobReport, parse_report

_JOB_ID = "test"


class JobContext(_JobContext):
    """What an action gets as its parameter ``job``, for a test that calls the function itself.

    ::

        job = JobContext()
        train(epochs=2, job=job)
        assert job.report.metrics["loss"][-1] == (2, 0.25)

    :param airflow: The task that would have submitted the job.
    :param storage_path: A folder for checkpoints, such as pytest's ``tmp_path``. By default, a temporary
        folder, which is deleted with this object.
    :param earlier_storage_paths: Those before each clear of the task, newest first.
    """

    def __init__(
        self,
        *,
        airflow: AirflowRun | None = None,
        storage_path: str | Path | None = None,
        earlier_storage_paths: Sequence[str | Path] = (),
    ) -> None:
        folder = Path(tempfile.mkdtemp(prefix="airflow-synapse-test-"))
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        self._logs, storage = folder / "logs", folder / "storage"
        self._logs.mkdir()
        storage.mkdir()
        surroundings = Surroundings(
            airflow, str(storage_path or storage), tuple(map(str, earlier_storage_paths))
        )
        place = JobPlace(_JOB_ID, self._logs)
        self._reports = JobReports(place, warnings.warn, surroundings)
        context = self._reports.context
        super().__init__(context._sink, surroundings, context._sender)  # noqa: SLF001  # the same, but with a report

    @property
    def report(self) -> JobReport:
        """What has been reported so far."""
        paths = self._reports.end()
        return parse_report(paths[0].read_bytes()) if paths else JobReport()

    def artifact_bytes(self, name: str) -> bytes:
        """Return the bytes of an artifact.

        :raises KeyError: if no such artifact was reported.
        """
        tokens = {artifact.name: artifact.token for artifact in self.report.artifacts}
        return (self._logs / f"airflow-synapse-artifact-{_JOB_ID}-{tokens[name]}").read_bytes()
