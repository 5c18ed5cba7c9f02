"""The arguments of all operators that run a Ray job, and what becomes of them."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_synapse import settings
from airflow_synapse.durations import to_number
from airflow_synapse.hooks.cluster_arguments import ClusterArguments
from airflow_synapse.hooks.cluster_ref import CLUSTER_FIELDS
from airflow_synapse.hooks.ray_job import RayJobHook
from airflow_synapse.links.ray_job import RayJobLink
from airflow_synapse.operators.arguments import plain_path
from airflow_synapse.operators.hidden_templates import HiddenTemplates
from airflow_synapse.version_compat import conf

if TYPE_CHECKING:
    from airflow_synapse.rayjobs.watching.job_watcher import WatchOptions


class RayJobArguments(HiddenTemplates, ClusterArguments):
    """An operator that knows which job to run and how to wait for it.

    ``env`` and ``runtime_env`` may hold templates, too, but do not show up among the rendered
    templates, as their values may be secrets.

    :param ray_conn_id: The connection of the cluster, of type ``ray``.
    :param working_dir: Folder, or ``.zip`` URI, that the job runs in.
    :param requirements_file: Instead of the folder's ``requirements.txt``.
    :param package_manager: ``pip`` or ``uv``.
    :param package_manager_options: Options of the install, or fields of Ray's ``pip``/``uv``.
    :param wheels_dir: Folder of wheels inside ``working_dir``.
    :param env: Environment of the job. Nothing of the worker's own environment is sent.
    :param runtime_env: Ray's runtime_env, merged over the generated one.
    :param num_cpus: CPU cores that the entrypoint reserves.
    :param num_gpus: GPUs that it reserves.
    :param memory: Bytes that it reserves.
    :param resources: Custom resources that it reserves.
    :param custom_resources: The same. Airflow's operators have an argument ``resources`` of their own, so
        this is the name for ``default_args``, for ``.override()``, and in ``.partial()`` for an XCom.
    :param label_selector: Labels that its node must have.
    :param metadata: Strings kept with the job, besides Airflow's ids.
    :param job_id: The submission id, instead of one made of the task run. A later attempt adds its
        number to it.
    :param wait_for_completion: Whether to wait for the job to end. Otherwise the task succeeds with
        the job's id as soon as the job is submitted.
    :param deferrable: Whether to wait in the triggerer, by default as ``[operators]
        default_deferrable`` says.
    :param poll_interval: Seconds between two looks at the job's status at most.
    :param job_timeout: How long the job may take from its submission on: seconds, timedelta or ISO
        8601 duration. Then it is stopped and the task fails.
    :param pending_timeout: How long it may wait to be scheduled, likewise.
    :param unreachable_timeout: Seconds to wait for a cluster that gives no usable answer.
    :param stream_logs: Whether to show the job's log in the task's log.
    :param log_lines_per_second: How many lines of it are shown on the average, 0 for all; by default
        as ``[ray] log_lines_per_second`` says.
    :param stop_on_kill: Whether to stop the job when the task is killed, cleared or marked.
    :param reattach: Whether a new try may adopt the job of an earlier one.
    :param retry_user_errors: Whether Airflow's ``retries`` hold for all failures. If not, the task
        fails at once where the job's own code, its runtime_env or its params failed, and only what
        the cluster did is retried; on Airflow 3.3 as
        :class:`~airflow_synapse.operators.retry_policy.RayJobRetryPolicy` does.
    :param skip_on_exit_code: If the job's command or code exits with this code, or one of these, the task
        is skipped instead of failed.
    :param openlineage_inject_parent_job_info: Whether the job's environment tells OpenLineage which task
        started it, where that provider is installed.
    """

    template_fields: Sequence[str] = (
        *CLUSTER_FIELDS,
        "working_dir",
        "requirements_file",
        "package_manager",
        "package_manager_options",
        "wheels_dir",
        "num_cpus",
        "num_gpus",
        "memory",
        "custom_resources",
        "label_selector",
        "metadata",
        "job_id",
        "job_timeout",
        "pending_timeout",
        *HiddenTemplates.hidden_template_fields,
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {
        "custom_resources": "json",
        "metadata": "json",
        "package_manager_options": "json",
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
        job_id: str | None = None,
        # Waiting
        wait_for_completion: bool = True,
        deferrable: bool | None = None,
        poll_interval: float = 5.0,
        job_timeout: float | timedelta | str | None = None,
        pending_timeout: float | timedelta | str | None = None,
        unreachable_timeout: float = 600.0,
        # Logs and ends
        stream_logs: bool = True,
        log_lines_per_second: float | None = None,
        stop_on_kill: bool = True,
        reattach: bool = True,
        retry_user_errors: bool = True,
        skip_on_exit_code: int | Collection[int] | None = None,
        openlineage_inject_parent_job_info: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if resources is not None and custom_resources is not None:
            raise ValueError("resources and custom_resources are the same; give one of them")
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
            "working_dir": self.working_dir,
            "requirements_file": self.requirements_file,
            "package_manager": self.package_manager,
            "package_manager_options": self.package_manager_options,
            "wheels_dir": self.wheels_dir,
            "env": self.env,
            "runtime_env": self.runtime_env,
            "num_cpus": to_number(self.num_cpus),
            "num_gpus": to_number(self.num_gpus),
            "memory": to_number(self.memory),
            "resources": self.custom_resources,
            "label_selector": self.label_selector,
        }

    def _hook(self, **executor_options: Any) -> RayJobHook:
        return self.cluster_hook(unreachable_timeout=self.unreachable_timeout, **executor_options)

    def _watch_options(self, deadlines: Mapping[str, float]) -> WatchOptions:
        from airflow_synapse.rayjobs.watching.job_watcher import WatchOptions

        return WatchOptions(
            poll_interval=self.poll_interval,
            stream_logs=self.stream_logs,
            unreachable_timeout=self.unreachable_timeout,
            deadlines=deadlines,
            log_lines_per_second=settings.log_lines_per_second(self.log_lines_per_second),
            fetch_result=self.do_xcom_push,
        )
