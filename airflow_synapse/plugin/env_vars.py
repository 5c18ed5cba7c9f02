"""Environment variables of a job: names that arrive, and values that arrive as they are written."""

from __future__ import annotations

import re
from collections.abc import Mapping

from airflow_synapse.exceptions import PluginManifestError

NAME_RULE = "A name has only letters, digits and _, and does not begin with a digit."

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_EXPANDED = re.compile(r"\$([A-Za-z_]|\{[A-Za-z0-9_]+\})")


def is_name(text: object) -> bool:
    """Return whether it is a name that a shell hands on; of others it drops the variable."""
    return isinstance(text, str) and _NAME.fullmatch(text) is not None


def check_values(env: Mapping[str, str], *, path: str = "") -> None:
    """See that Ray does not change a value: it expands variables, and there is no escape.

    :param path: The file they are from, for the error; "" if they are an argument.
    :raises PluginManifestError: naming the variable. Its value may be a secret, and is not shown.
    """
    for name, value in env.items():
        if _EXPANDED.search(value):
            raise PluginManifestError(
                path=path or f"env.{name}",
                reason=(f"the value of env.{name}" if path else "the value")
                + " has a $ before a name, as in $NAME or ${NAME}, and Ray would put a variable of "
                "the node, or nothing, in its place",
                hint="Hand such a value over in the action's params or in a file. If Ray is to "
                f"expand it, say so: runtime_env={{'env_vars': {{{name!r}: …}}}}.",
            )
