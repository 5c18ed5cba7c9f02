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

    A subclass ends its ``template_fields`` with :attr:`hidden_template_fields`, calls
    :meth:`hide_templates` when these are set, and :meth:`render_hidden_templates` when it runs.
    """

    hidden_template_fields: ClassVar[tuple[str, ...]] = ("env", "runtime_env")

    def hide_templates(self) -> None:
        """Take the hidden fields from the template fields of this instance."""
        self.template_fields = self._shown(type(self).template_fields)
        for field in self.hidden_template_fields:
            XComArg.apply_upstream_relationship(self, getattr(self, field))

    def render_hidden_templates(self, context: Context) -> None:
        """Replace the hidden fields' templates by their values."""
        for field in self.hidden_template_fields:
            setattr(self, field, self.render_template(getattr(self, field), context))

    def _do_render_template_fields(
        self, parent: Any, template_fields: Iterable[str], *args: Any, **kwargs: Any
    ) -> None:
        """Leave the hidden fields alone, which are among a mapped task's template fields."""
        if parent is self:
            template_fields = self._shown(template_fields)
        super()._do_render_template_fields(parent, template_fields, *args, **kwargs)

    def _shown(self, template_fields: Iterable[str]) -> tuple[str, ...]:
        return tuple(name for name in template_fields if name not in self.hidden_template_fields)
