"""What the operators' tests have, for decorated functions."""

from tests.operators.conftest import log, stub, ti

__all__ = ["log", "stub", "ti"]
