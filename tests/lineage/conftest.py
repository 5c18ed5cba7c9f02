"""The same cluster as for operators."""

from tests.operators.conftest import log, plugin, stub, ti

__all__ = ["log", "plugin", "stub", "ti"]
