"""Templates whose values Airflow neither stores nor shows, as they may be secrets."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk import BaseOperator, XComArg

if TYPE_CHECKING:
    from airflow.sdk import Context


class HiddenTemplates(BaseOperator):
    """Renders some fields where the task runs and nowhere else.

    Airflow keeps the values of an operator's template fields in the serialized DAG and among the rendered
    templates, where everybody may read them. So an instance has no template fields for these. The class
    has them, last: of a mapped task, Airflow finds what it depends on by the fields of its class.

    A subclass ends its ``template_fields`` with :attr:`hidden_template_fields`, and calls
    :meth:`hide_templates` when these are set.
    """

    hidden_template_fields: ClassVar[tuple[str, ...]] = ("env", "runtime_env")

    def hide_templates(self) -> None:
        """Take the hidden fields from the template fields of this instance."""
        self.template_fields = self._shown(type(self).template_fields)
        for field in self.hidden_template_fields:
            XComArg.apply_upstream_relationship(self, getattr(self, field))

    def _do_render_template_fields(
        self,
        parent: Any,
        template_fields: Iterable[str],
        context: Context,
        jinja_env: Any,
        seen_oids: set[int],
    ) -> None:
        """Render the hidden fields, too, whether this is a mapped task or not.

        What a mapped task was given by an upstream one is no template, as ``seen_oids`` say.
        """
        shown = self._shown(template_fields) if parent is self else template_fields
        super()._do_render_template_fields(parent, shown, context, jinja_env, seen_oids)
        if parent is self:
            for field in self.hidden_template_fields:
                value = self.render_template(getattr(self, field), context, jinja_env, seen_oids)
                setattr(self, field, value)

    def _shown(self, template_fields: Iterable[str]) -> tuple[str, ...]:
        return tuple(name for name in template_fields if name not in self.hidden_template_fields)
