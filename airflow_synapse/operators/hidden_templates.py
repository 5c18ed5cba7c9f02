"""Renders templates whose values may be secrets, so that Airflow neither stores nor shows them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk import BaseOperator, XComArg

from airflow_synapse.masking import without_secrets

if TYPE_CHECKING:
    from airflow.sdk import Context

_URIS = ("working_dir", "requirements_file")


class HiddenTemplates(BaseOperator):
    """Renders some fields only where the task runs.

    Airflow stores the values of an operator's template fields in the serialized DAG and in the rendered
    templates, where many users may read them. So the template fields of an instance do not include
    these, nor a URI with a password or a signature. Those of the class do, at the end, because Airflow finds the upstream tasks of a mapped task by
    the fields of its class.

    A subclass ends its ``template_fields`` with :attr:`hidden_template_fields` and calls
    :meth:`hide_templates` once these fields are set.
    """

    hidden_template_fields: ClassVar[tuple[str, ...]] = (
        "env",
        "runtime_env",
        "package_manager_options",
    )

    def hide_templates(self) -> None:
        """Remove the hidden fields from the template fields of this instance."""
        self.template_fields = self._shown(type(self).template_fields)
        for field in self._hidden(type(self).template_fields):
            XComArg.apply_upstream_relationship(self, getattr(self, field))

    def _do_render_template_fields(
        self,
        parent: Any,
        template_fields: Iterable[str],
        context: Context,
        jinja_env: Any,
        seen_oids: set[int],
    ) -> None:
        """Render the hidden fields, too, whether or not this is a mapped task.

        ``seen_oids`` marks values from upstream tasks, which are not templates.
        """
        if parent is not self:
            super()._do_render_template_fields(
                parent, template_fields, context, jinja_env, seen_oids
            )
            return
        shown, hidden = self._shown(template_fields), self._hidden(type(self).template_fields)
        super()._do_render_template_fields(parent, shown, context, jinja_env, seen_oids)
        for field in hidden:
            value = self.render_template(getattr(self, field), context, jinja_env, seen_oids)
            setattr(self, field, value)
        self.template_fields = self._shown(self.template_fields)

    def _shown(self, template_fields: Iterable[str]) -> tuple[str, ...]:
        return tuple(name for name in template_fields if not self._is_hidden(name))

    def _hidden(self, template_fields: Iterable[str]) -> tuple[str, ...]:
        return tuple(name for name in template_fields if self._is_hidden(name))

    def _is_hidden(self, field: str) -> bool:
        """Return whether a field is not shown: always, or because it is a URI with credentials."""
        value = getattr(self, field, None)
        is_secret = isinstance(value, str) and without_secrets(value) != value
        return field in self.hidden_template_fields or (field in _URIS and is_secret)
