"""How an entrypoint may be written."""

from __future__ import annotations

import keyword

from airflow_synapse.exceptions import PluginManifestError


def parse_entrypoint(text: object, *, path: str = "entrypoint", key: str = "") -> str:
    """Return it as ``package.module:attribute``, however it was written.

    :param text: ``a.b:C`` or ``a.b.C``.
    :param path: The file it stands in, for the error.
    :param key: Its dotted key in that file, for the error.
    :raises PluginManifestError: if it is neither.
    """
    where = f"{key} is " if key else ""
    if not isinstance(text, str):
        raise PluginManifestError(
            path=path, reason=f"{where}{text!r}, not text", hint=_HINT.format(key or "it")
        )
    module, colon, attribute = text.strip().partition(":")
    if not colon:
        module, _, attribute = text.strip().rpartition(".")
    if not (_is_dotted_name(module) and _is_dotted_name(attribute)):
        raise PluginManifestError(
            path=path,
            reason=f"{where}{text!r}, which is no entrypoint",
            hint=_HINT.format(key or "it"),
        )
    return f"{module}:{attribute}"


_HINT = "Write {} as package.module:attribute, e.g. plugin.train:run."


def _is_dotted_name(text: str) -> bool:
    return all(part.isidentifier() and not keyword.iskeyword(part) for part in text.split("."))
