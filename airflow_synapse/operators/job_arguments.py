"""The arguments that all operators for Ray jobs share."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_synapse import settings
from airflow_synapse.durations import to_interval
from airflow_synapse.hooks.cluster_arguments import ClusterArguments
from airflow_synapse.hooks.cluster_ref import CLUSTER_FIELDS
from airflow_synapse.hooks.ray_job import RayJobHook
from airflow_synapse.hooks.template_values import (
    to_amount,
    to_amounts,
    to_lines,
    to_runtime_env,
    to_text,
    to_texts,
    to_value,
)
from airflow_synapse.links.ray_job import RayJobLink
from airflow_synapse.operators.hidden_templates import HiddenTemplates
from airflow_synapse.operators.plain_values import plain_path
from airflow_synapse.version_compat import conf

if TYPE_CHECKING:
    from airflow_synapse.rayjobs.watching.job_watcher import WatchOptions

_POLL_INTERVAL = 5.0
_UNREACHABLE_TIMEOUT = 600.0


class RayJobArguments(HiddenTemplates, ClusterArguments):
    """An operator that knows which job to run and how to wait for it.

    ``env``, ``runtime_env`` and ``package_manager_options`` are templated, too, but the rendered templates do
    not show them, because their values may be secrets.

    :param ray_conn_id: The connection to the cluster, of type ``ray``.
    :param working_dir: The folder or ``.zip`` URI that the job runs in.
    :param requirements_file: The requirements file, instead of the folder's ``requirements.txt``.
    :param package_manager: ``pip`` or ``uv``.
    :param package_manager_options: Options for the install, or fields of Ray's ``pip`` or ``uv``.
    :param wheels_dir: The folder of wheels inside ``working_dir``.
    :param env: Environment variables for the job. The worker's own environment is never sent.
    :param runtime_env: Ray's runtime_env, merged with the generated one. Its values take precedence.
    :param num_cpus: CPU cores to reserve for the entrypoint.
    :param num_gpus: GPUs to reserve for it.
    :param memory: Bytes of memory to reserve for it.
    :param resources: Custom resources to reserve for it.
    :param custom_resources: Another name for ``resources``. Airflow's operators have an argument
        ``resources`` of their own, so use this name in ``default_args``, in ``.override()``, and for an
        XCom in ``.partial()``.
    :param label_selector: Labels that the job's node must have.
    :param metadata: Strings to store with the job, in addition to Airflow's ids.
    :param storage_path: A folder that all nodes share, or a URI, instead of the connection's. The job gets
        ``<storage_path>/<dag>/<run>/<task>[/<map index>]/<clear>`` for checkpoints: the same for all tries, and a
        new one after a clear.
    :param job_id: The submission ID, instead of one derived from the task instance. Later attempts append
        their number to it.
    :param wait_for_completion: Whether to wait for the job to end. If not, the task succeeds as soon as
        the job is submitted and returns the submission ID.
    :param deferrable: Whether to wait in the triggerer. The default is ``[operators]
        default_deferrable``.
    :param poll_interval: The longest time between two status requests: seconds, a timedelta or an ISO
        8601 duration.
    :param job_timeout: How long the job may take after its submission, in the same forms. After that, the
        job is stopped and the task fails.
    :param pending_timeout: How long the job may wait to be scheduled, in the same forms.
    :param unreachable_timeout: How long to wait for a cluster that gives no usable answer, in the same
        forms.
    :param stream_logs: Whether to show the job's log in the task's log.
    :param log_lines_per_second: How many lines of the job's log to show per second on average, 0 for all.
        The default is ``[ray] log_lines_per_second``.
    :param stop_on_kill: Whether to stop the job when a user clears, marks or deletes the task, and when its
        process is told to end and no try is left that could take the job over.
    :param reattach: Whether a new try may take over the job of an earlier try.
    :param retry_user_errors: Whether Airflow's ``retries`` applies to all failures. If not, the task fails
        without a retry if the job's own code, runtime_env or params failed, and only failures of the
        cluster are retried. On Airflow 3.3 you can use
        :class:`~airflow_synapse.operators.retry_policy.RayJobRetryPolicy` instead.
    :param skip_on_exit_code: An exit code, or several. If the job exits with one of them, the task is
        skipped instead of failed.
    :param openlineage_inject_parent_job_info: Whether the job's environment tells OpenLineage which task
        started the job, if OpenLineage's provider is installed.
    """

    template_fields: Sequence[str] = (
        *CLUSTER_FIELDS,
        "working_dir",
        "requirements_file",
        "package_manager",
        "wheels_dir",
        "num_cpus",
        "num_gpus",
        "memory",
        "custom_resources",
        "label_selector",
        "metadata",
        "storage_path",
        "job_id",
        "poll_interval",
        "job_timeout",
        "pending_timeout",
        "unreachable_timeout",
        "log_lines_per_second",
        *HiddenTemplates.hidden_template_fields,
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {
        "custom_resources": "json",
        "metadata": "json",
    }
    operator_extra_links = (RayJobLink(),)
    ui_color = "#dff0fb"

    def __init__(
        self,
        *,
        # Code and environment
        working_dir: str | os.PathLike[str] | None = None,
        requirements_file: str | os.PathLike[str] | None = None,
        package_manager: str | None = None,
        package_manager_options: Mapping[str, Any] | Sequence[str] | None = None,
        wheels_dir: str | None = None,
        env: Mapping[str, str] | None = None,
        runtime_env: Mapping[str, Any] | None = None,
        # Resources
        num_cpus: float | str | None = None,
        num_gpus: float | str | None = None,
        memory: int | str | None = None,
        resources: Mapping[str, float] | None = None,
        custom_resources: Mapping[str, float] | None = None,
        label_selector: Mapping[str, str] | None = None,
        # Job
        metadata: Mapping[str, str] | None = None,
        storage_path: str | os.PathLike[str] | None = None,
        job_id: str | None = None,
        # Waiting
        wait_for_completion: bool = True,
        deferrable: bool | None = None,
        poll_interval: float | timedelta | str = _POLL_INTERVAL,
        job_timeout: float | timedelta | str | None = None,
        pending_timeout: float | timedelta | str | None = None,
        unreachable_timeout: float | timedelta | str = _UNREACHABLE_TIMEOUT,
        # Logs and outcome
        stream_logs: bool = True,
        log_lines_per_second: float | str | None = None,
        stop_on_kill: bool = True,
        reattach: bool = True,
        retry_user_errors: bool = True,
        skip_on_exit_code: int | Collection[int] | None = None,
        openlineage_inject_parent_job_info: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if resources is not None and custom_resources is not None:
            raise ValueError("resources and custom_resources mean the same. Give only one of them.")
        if deferrable is None:
            deferrable = conf.getboolean("operators", "default_deferrable", fallback=False)
        self.working_dir = plain_path(working_dir)
        self.requirements_file = plain_path(requirements_file)
        self.package_manager = package_manager
        self.package_manager_options = package_manager_options
        self.wheels_dir = wheels_dir
        self.env = env
        self.runtime_env = runtime_env
        self.num_cpus = num_cpus
        self.num_gpus = num_gpus
        self.memory = memory
        self.custom_resources = custom_resources if resources is None else resources
        self.label_selector = label_selector
        self.metadata = metadata
        self.storage_path = plain_path(storage_path)
        self.job_id = job_id
        self.wait_for_completion = wait_for_completion
        self.deferrable = deferrable
        self.poll_interval = poll_interval
        self.job_timeout = job_timeout
        self.pending_timeout = pending_timeout
        self.unreachable_timeout = unreachable_timeout
        self.stream_logs = stream_logs
        self.log_lines_per_second = log_lines_per_second
        self.stop_on_kill = stop_on_kill
        self.reattach = reattach
        self.retry_user_errors = retry_user_errors
        self.skip_on_exit_code = skip_on_exit_code
        self.openlineage_inject_parent_job_info = openlineage_inject_parent_job_info
        self.hide_templates()

    def _executor_options(self) -> dict[str, Any]:
        return {
            "working_dir": to_text(self.working_dir),
            "requirements_file": to_text(self.requirements_file),
            "package_manager": to_text(self.package_manager),
            "package_manager_options": to_lines(self.package_manager_options),
            "wheels_dir": to_text(self.wheels_dir),
            "env": to_value(self.env),
            "runtime_env": to_runtime_env(self.runtime_env),
            "num_cpus": to_amount(self.num_cpus),
            "num_gpus": to_amount(self.num_gpus),
            "memory": to_amount(self.memory),
            "resources": to_amounts(self.custom_resources),
            "label_selector": to_texts(self.label_selector),
        }

    def _hook(self, **executor_options: Any) -> RayJobHook:
        executor_options.setdefault("storage_path", to_text(self.storage_path))
        return self.cluster_hook(
            unreachable_timeout=self._watch_paces()["unreachable_timeout"], **executor_options
        )

    def _watch_paces(self) -> dict[str, Any]:
        """Return the arguments of a watch that are numbers.

        :raises ValueError: if one of them is none.
        """
        lines = to_amount(self.log_lines_per_second)
        settings.log_lines_per_second(lines)  # refuses what is no number before anything is sent
        return {
            "poll_interval": to_interval(
                self.poll_interval, "poll_interval", default=_POLL_INTERVAL
            ),
            "unreachable_timeout": to_interval(
                self.unreachable_timeout, "unreachable_timeout", default=_UNREACHABLE_TIMEOUT
            ),
            "log_lines_per_second": lines,
        }

    def _watch_options(self, deadlines: Mapping[str, float]) -> WatchOptions:
        from airflow_synapse.rayjobs.watching.job_watcher import WatchOptions

        paces = self._watch_paces()
        lines = settings.log_lines_per_second(paces.pop("log_lines_per_second"))
        return WatchOptions(
            **paces,
            stream_logs=self.stream_logs,
            deadlines=deadlines,
            log_lines_per_second=lines,
            fetch_result=self.do_xcom_push,
        )
