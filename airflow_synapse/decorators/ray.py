"""``@task.ray``: runs a Python function as a Ray job."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, overload

from airflow.sdk.bases.decorator import (
    DecoratedOperator,
    FParams,
    FReturn,
    Task,
    task_decorator_factory,
)

from airflow_synapse.decorators.job_parameter import without_job
from airflow_synapse.exceptions import ActionParamsError
from airflow_synapse.hooks.template_values import to_lines
from airflow_synapse.operators.base import RayJobOperator
from airflow_synapse.operators.plain_values import plain
from airflow_synapse.operators.results import RayResultOperator
from airflow_synapse.version_compat.dag_files import KeywordParameters

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_synapse.rayjobs.executor import RayJobExecutor
    from airflow_synapse.rayjobs.packing.preparation import PreparedJob

_OF_THE_LOGICAL_DATE = frozenset({"ds", "ds_nodash", "ts", "ts_nodash", "ts_nodash_with_tz"})
_SENDABLE = frozenset(
    {
        *_OF_THE_LOGICAL_DATE,
        "expanded_ti_count",
        "map_index_template",
        "params",
        "partition_key",
        "run_id",
        "task_instance_key_str",
        "task_reschedule_count",
        "test_mode",
    }
)
"""Context variables that JSON can represent. ``@task.virtualenv`` passes the same ones by default."""


class RayDecoratedOperator(DecoratedOperator, RayResultOperator):
    """Runs a Python function as a Ray job and returns its return value.

    As with ``@task.virtualenv``, only the function's source is sent. The function must import what it
    needs, and it can't use names from its module. Arguments and result are sent as JSON. A parameter
    ``job`` that the DAG does not fill is the job's context, by which it reports. Takes all arguments
    of :class:`~airflow_synapse.operators.base.RayJobOperator`.

    :param python_callable: The function.
    :param op_args: Positional arguments.
    :param op_kwargs: Keyword arguments.
    :param requirements: Requirement lines, or the path of a requirements file.
    """

    template_fields: Sequence[str] = (
        "op_args",
        "op_kwargs",
        *RayJobOperator.template_fields,
        "requirements",
    )
    hidden_template_fields: ClassVar[tuple[str, ...]] = (
        *RayJobOperator.hidden_template_fields,
        "requirements",
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {
        **DecoratedOperator.template_fields_renderers,
        **RayJobOperator.template_fields_renderers,
    }
    custom_operator_name = "@task.ray"

    def __init__(
        self,
        *,
        python_callable: Callable[..., Any],
        requirements: Sequence[str] | str | os.PathLike[str] | None = None,
        **kwargs: Any,
    ) -> None:
        self.requirements = (
            os.fspath(requirements) if isinstance(requirements, os.PathLike) else requirements
        )
        self._context: Mapping[str, Any] = {}
        args, op_kwargs = kwargs.get("op_args") or (), kwargs.get("op_kwargs") or {}
        super().__init__(python_callable=without_job(python_callable, args, op_kwargs), **kwargs)
        self.python_callable = python_callable

    @property
    def is_async(self) -> bool:
        """Whether :meth:`execute` is asynchronous. It never is; an ``async def`` is awaited in the job."""
        return False

    def execute(self, context: Context) -> Any:
        """Submit the job, or take over the job of an earlier try, and wait for it."""
        self._context = context
        return super().execute(context)

    def prepare(self, executor: RayJobExecutor, metadata: Mapping[str, str]) -> PreparedJob:
        """Return the job that runs the function."""
        from airflow_synapse.plugin.function import FunctionSource

        function = FunctionSource.of(self.python_callable)
        return executor.prepare_function(
            function,
            self._params(function.name),
            requirements=to_lines(self.requirements) or (),
            metadata=metadata,
        )

    def _params(self, name: str) -> dict[str, Any]:
        """Return all arguments by name.

        :raises ActionParamsError: if an argument is missing or can't be passed by name.
        """
        sendable = {key: self._context[key] for key in _SENDABLE if key in self._context}
        given = {**sendable, **self.op_kwargs}
        asked = without_job(self.python_callable, self.op_args, self.op_kwargs)
        kwargs = dict(KeywordParameters.determine(asked, self.op_args, given).unpacking())
        parameters = inspect.signature(asked).parameters
        problems = {}
        for value, parameter in zip(self.op_args, parameters.values(), strict=False):
            if parameter.kind is not parameter.POSITIONAL_OR_KEYWORD:
                problems[f"params.{parameter.name}"] = (
                    "can't be passed by name, but a Ray job takes all its arguments by name"
                )
            kwargs[parameter.name] = value
        for parameter in parameters.values():
            is_needed = parameter.default is parameter.empty and parameter.kind in (
                parameter.POSITIONAL_OR_KEYWORD,
                parameter.KEYWORD_ONLY,
            )
            if is_needed and parameter.name not in kwargs:
                problems[f"params.{parameter.name}"] = _why_missing(parameter.name)
        if problems:
            raise ActionParamsError(problems=problems, action_name=name)
        return {key: plain(value) for key, value in kwargs.items()}


def _why_missing(name: str) -> str:
    """Return why a function does not get a context variable that it needs."""
    if name in _OF_THE_LOGICAL_DATE:
        return (
            "is not in this run's context because the run has no logical date; to allow that, give it the "
            "default None"
        )
    if name in _SENDABLE:
        return "is not in this run's context; to allow that, give it the default None"
    return (
        "is a part of Airflow's context that can't be sent to a Ray job; the parts that can be sent are "
        f"{', '.join(sorted(_SENDABLE))}"
    )


@overload
def ray_task(python_callable: Callable[FParams, FReturn]) -> Task[FParams, FReturn]: ...
@overload
def ray_task(
    *,
    multiple_outputs: bool | None = None,
    requirements: Sequence[str] | str | os.PathLike[str] | None = None,
    # Cluster
    ray_conn_id: str | None = ...,
    ray_cluster: Any = ...,
    kubernetes_conn_id: str = ...,
    reach: str = ...,
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
    wait_for_completion: bool = ...,
    deferrable: bool | None = None,
    poll_interval: float | timedelta | str = ...,
    job_timeout: float | timedelta | str | None = None,
    pending_timeout: float | timedelta | str | None = None,
    unreachable_timeout: float | timedelta | str = ...,
    # Logs and outcome
    stream_logs: bool = ...,
    log_lines_per_second: float | str | None = None,
    stop_on_kill: bool = ...,
    reattach: bool = ...,
    retry_user_errors: bool = ...,
    skip_on_exit_code: int | Collection[int] | None = None,
    openlineage_inject_parent_job_info: bool = ...,
    **kwargs: Any,
) -> Callable[[Callable[FParams, FReturn]], Task[FParams, FReturn]]: ...
def ray_task(
    python_callable: Callable[..., Any] | None = None,
    multiple_outputs: bool | None = None,  # noqa: FBT001  # Airflow's signature
    **kwargs: Any,
) -> Any:
    """Turn a function into a task that runs it as a Ray job: ``@task.ray`` or ``@ray_task``.

    Type checkers know the arguments of ``@ray_task``, but accept any arguments for ``@task.ray``.

    :param python_callable: The function.
    :param multiple_outputs: Whether to push each key of a returned dict as a separate XCom.
    :param kwargs: Arguments of :class:`RayDecoratedOperator`, and of any operator.
    """
    if "resources" in kwargs and "custom_resources" not in kwargs:
        # expand() would mistake it for the argument that all of Airflow's operators have.
        kwargs["custom_resources"] = kwargs.pop("resources")
    return task_decorator_factory(
        python_callable=python_callable,
        multiple_outputs=multiple_outputs,
        decorated_operator_class=RayDecoratedOperator,
        **kwargs,
    )
