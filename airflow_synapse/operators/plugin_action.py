"""Runs the actions of a plugin folder as Ray jobs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_synapse.hooks.template_values import to_text, to_value
from airflow_synapse.operators.base import RayJobOperator
from airflow_synapse.operators.plain_values import plain
from airflow_synapse.operators.results import RayResultOperator

if TYPE_CHECKING:
    from airflow_synapse.rayjobs.executor import RayJobExecutor
    from airflow_synapse.rayjobs.packing.preparation import PreparedJob


class SubmitPluginActionOperator(RayResultOperator):
    """Runs one action of a plugin as a Ray job and returns what the action returned.

    See :class:`~airflow_synapse.operators.base.RayJobOperator` for everything that jobs share.

    :param action_name: An action of the plugin's manifest, or ``package.module:attribute``.
    :param action_params: The action's keyword arguments, as JSON values. XComs of upstream tasks, mapped
        tasks included, are read before they are sent.
    :param working_dir: The plugin's folder, or the URI of a ``.zip`` of it.
    """

    template_fields: Sequence[str] = (
        "action_name",
        "action_params",
        *RayJobOperator.template_fields,
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {
        "action_params": "json",
        **RayJobOperator.template_fields_renderers,
    }

    def __init__(
        self, *, action_name: str, action_params: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.action_name = action_name
        self.action_params = action_params

    def prepare(self, executor: RayJobExecutor, metadata: Mapping[str, str]) -> PreparedJob:
        """Return the action as a job."""
        name = to_text(self.action_name) or str(self.action_name)
        params = plain(to_value(self.action_params))
        return executor.prepare_action(name, params, metadata=metadata)
