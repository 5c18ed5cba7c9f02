"""What all errors of the package share."""

from __future__ import annotations

from typing import Any

from airflow_synapse.masking import without_secrets


class AirflowSynapseError(Exception):
    """Base of every error this package raises.

    Each class takes facts as keyword arguments and writes its own sentence. The facts stay
    readable as attributes, and the error survives pickling.
    """

    def __init__(self, **facts: Any) -> None:
        super().__init__()
        self._facts = facts
        for name, value in facts.items():
            setattr(self, name, value)

    def __str__(self) -> str:
        return without_secrets(self.sentence())

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self._facts)

    def sentence(self) -> str:
        """Return what happened, on what, and what to do."""
        raise NotImplementedError


def _rebuild(cls: type[AirflowSynapseError], facts: dict[str, Any]) -> AirflowSynapseError:
    return cls(**facts)
