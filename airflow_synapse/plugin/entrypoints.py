"""Parses entrypoints, and finds those of classes and functions."""

from __future__ import annotations

import inspect
import keyword
from collections.abc import Callable
from pathlib import Path
from typing import Any

from airflow_synapse.exceptions import PluginManifestError


def parse_entrypoint(text: object, *, path: str = "entrypoint", key: str = "") -> str:
    """Return an entrypoint as ``package.module:attribute``, whichever form it has.

    :param text: ``a.b:C`` or ``a.b.C``.
    :param path: The file that has it, for the error message.
    :param key: Its dotted key in that file, for the error message.
    :raises PluginManifestError: if it is neither.
    """
    given = f"{key} is {text!r}, which" if key else repr(text)
    if not isinstance(text, str):
        raise PluginManifestError(
            path=path, reason=f"{given} is not a string", hint=_HINT.format(key or "it")
        )
    module, colon, attribute = text.strip().partition(":")
    if not colon:
        module, _, attribute = text.strip().rpartition(".")
    if not (_is_dotted_name(module) and _is_dotted_name(attribute)):
        raise PluginManifestError(
            path=path,
            reason=f"{given} is not an entrypoint",
            hint=_HINT.format(key or "it"),
        )
    return f"{module}:{attribute}"


def entrypoint_of(target: Callable[..., Any], folder: Path) -> str:
    """Return the entrypoint of a class or function whose module lies in a folder.

    The module is named by its file, because it may be the main script here, or have been imported from
    another folder.

    :raises PluginManifestError: if it has no file in the folder, or only a function's locals know it.
    """
    name = getattr(target, "__qualname__", repr(target))
    try:
        file = Path(inspect.getfile(target)).resolve()
        module = file.relative_to(folder.resolve()).with_suffix("")
    except (TypeError, ValueError) as exc:
        raise PluginManifestError(
            path=str(folder),
            reason=f"it does not contain the module of {name}",
            hint="Give the working_dir that the class was imported from, or an action's name.",
        ) from exc
    parts = module.parts[:-1] if module.name == "__init__" else module.parts
    return parse_entrypoint(f"{'.'.join(parts)}:{name}", path=str(file))


_HINT = "Write {} as package.module:attribute, e.g. plugin.train:run."


def _is_dotted_name(text: str) -> bool:
    return all(part.isidentifier() and not keyword.iskeyword(part) for part in text.split("."))
