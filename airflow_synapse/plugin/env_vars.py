"""Checks that a job's environment variables arrive in the job as they are written."""

from __future__ import annotations

import re
from collections.abc import Mapping

from airflow_synapse.exceptions import PluginManifestError

NAME_RULE = "A name has only letters, digits and _, and does not begin with a digit."

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_EXPANDED = re.compile(r"\$([A-Za-z_]|\{[A-Za-z0-9_]+\})")


def is_name(text: object) -> bool:
    """Return whether shells pass on a variable with this name. They drop all others."""
    return isinstance(text, str) and _NAME.fullmatch(text) is not None


def check_values(env: Mapping[str, str], *, path: str = "") -> None:
    """Check that Ray will not change a value: it expands variables, and they can't be escaped.

    :param path: The file they come from, for the error; "" if they are an argument.
    :raises PluginManifestError: naming the variable. Its value may be a secret, and is not shown.
    """
    for name, value in env.items():
        if _EXPANDED.search(value):
            raise PluginManifestError(
                path=path or f"env.{name}",
                reason=(f"the value of env.{name}" if path else "the value")
                + " has a $ before a name, as in $NAME or ${NAME}, which Ray would replace with a "
                "variable of the node, or with nothing",
                hint="Pass such a value in the action's params or in a file. If you want Ray to "
                f"expand it, use runtime_env={{'env_vars': {{{name!r}: …}}}}.",
            )
