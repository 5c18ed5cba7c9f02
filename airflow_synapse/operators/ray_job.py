"""Runs shell commands as Ray jobs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_synapse.hooks.template_values import to_text
from airflow_synapse.operators.base import RayJobOperator

if TYPE_CHECKING:
    from airflow_synapse.rayjobs.executor import RayJobExecutor
    from airflow_synapse.rayjobs.packing.preparation import PreparedJob


class SubmitRayJobOperator(RayJobOperator):
    """Runs a shell command as a Ray job. See :class:`RayJobOperator` for everything that jobs share.

    :param entrypoint: The command. It runs in ``working_dir``, if there is one.
    """

    template_fields: Sequence[str] = ("entrypoint", *RayJobOperator.template_fields)
    template_fields_renderers: ClassVar[dict[str, str]] = {
        "entrypoint": "bash",
        **RayJobOperator.template_fields_renderers,
    }

    def __init__(self, *, entrypoint: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.entrypoint = entrypoint

    def prepare(self, executor: RayJobExecutor, metadata: Mapping[str, str]) -> PreparedJob:
        """Return the command as a job."""
        return executor.prepare_entrypoint(to_text(self.entrypoint), metadata=metadata)
