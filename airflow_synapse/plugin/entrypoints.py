"""Parses entrypoints."""

from __future__ import annotations

import keyword

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


_HINT = "Write {} as package.module:attribute, e.g. plugin.train:run."


def _is_dotted_name(text: str) -> bool:
    return all(part.isidentifier() and not keyword.iskeyword(part) for part in text.split("."))
