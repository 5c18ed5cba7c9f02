"""Turns a plugin's action into what a Ray job needs: a runtime_env, a command and a call."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from airflow_synapse.exceptions import (
    ActionNotFoundError,
    PluginManifestError,
    PluginRequirementsError,
)
from airflow_synapse.plugin.manifest import (
    DEFAULT_WHEELS_DIR,
    PACKAGE_MANAGERS,
    PluginAction,
    PluginManifest,
    action_from_entrypoint,
    scalar_text,
)
from airflow_synapse.plugin.requirements import read_requirements
from airflow_synapse.plugin.wheels import WORKING_DIR, find_wheels, wheel_lines

RUNTIME_MODULE = "airflow_synapse_action_runtime"
RUNTIME_ENTRYPOINT = f"python -m {RUNTIME_MODULE}"
"""The shell command of every job that runs an action. It contains nothing of the call."""

DEFAULT_REQUIREMENTS = "requirements.txt"

_INSTALL_OPTIONS = {
    "pip": ("pip_install_options", ("--disable-pip-version-check", "--no-cache-dir")),
    "uv": ("uv_pip_install_options", ("--no-cache",)),
}
"""The key for a list of options, and Ray's own defaults, which such a list would replace."""


def find_action(
    manifest: PluginManifest | None, action_name: str, *, plugin: str = ""
) -> PluginAction:
    """Return the manifest's action of this name, or one for an entrypoint ``package.module:attr``.

    :param plugin: The name of a plugin whose manifest was not read, for the error message.
    :raises ActionNotFoundError: if the name is neither.
    :raises PluginManifestError: if the name has a colon but is not an entrypoint.
    """
    if manifest is not None and (action_name in manifest.actions or ":" not in action_name):
        return manifest.action(action_name)
    if ":" not in action_name:
        raise ActionNotFoundError(action_name=action_name, plugin=plugin, known=())
    return action_from_entrypoint(action_name)


def call_document(
    entrypoint: str, params_json: str, *, action_name: str = "", plugin: str = ""
) -> bytes:
    """Return the ``call.json`` that the action runtime reads.

    :param params_json: The params as ``encode_params`` returned them. They are not parsed again.
    """
    head = json.dumps({"entrypoint": entrypoint, "action": action_name, "plugin": plugin})
    return f'{head[:-1]}, "params": {params_json}}}'.encode()


def action_runtime_files(call: bytes) -> dict[str, bytes]:
    """Return the files of the package that is sent with the job, keyed by POSIX path."""
    return {**_runtime_sources(), f"{RUNTIME_MODULE}/call.json": call}


@cache
def _runtime_sources() -> dict[str, bytes]:
    sources = files("airflow_synapse.action_runtime")
    return {
        f"{RUNTIME_MODULE}/{file.name}": file.read_bytes()
        for file in sources.iterdir()
        if file.name.endswith(".py")
    }


def build_runtime_env(
    manifest: PluginManifest | None,
    *,
    requirements_file: Path | str | None = None,
    package_manager: str | None = None,
    package_manager_options: Sequence[str] | Mapping[str, Any] | None = None,
    wheels_dir: str | None = None,
    env: Mapping[str, Any] | None = None,
    runtime_env: Mapping[str, Any] | None = None,
    requirements: Sequence[str] = (),
) -> tuple[dict[str, Any], ...]:
    """Return the layers of a plugin's runtime_env. Merge them in this order; the last one wins.

    ``working_dir`` is still a folder on this machine. Arguments override the manifest: options
    replace its options, while ``env`` and ``runtime_env`` are merged into its own.

    :param requirements_file: A path relative to the plugin folder, or else to the current folder.
    :param package_manager: "pip" or "uv".
    :param wheels_dir: A path relative to the plugin folder. The manifest overrides the default name.
    :param requirements: Further requirement lines.
    :raises PluginManifestError: if any of these can't be used.
    """
    folder = manifest.folder if manifest else None
    manager = _package_manager(manifest, package_manager)
    generated: dict[str, Any] = {"working_dir": str(folder)} if folder else {}
    lines = _lines(folder, requirements_file, _wheels_dir(manifest, wheels_dir))
    lines += requirements
    if lines:
        options = _options(manifest, manager, package_manager_options)
        generated[manager] = {"packages": lines, **options}
    if manifest and manifest.env:
        generated["env_vars"] = dict(manifest.env)
    own = _readable(manifest.runtime_env, folder) if manifest else {}
    given = _readable(runtime_env or {}, folder)
    return generated, own, {"env_vars": _env_vars(env)} if env else {}, given


def _package_manager(manifest: PluginManifest | None, given: str | None) -> str:
    manager = given or (manifest.package_manager if manifest else None) or "pip"
    if manager not in PACKAGE_MANAGERS:
        raise PluginManifestError(
            path="package_manager", reason=f"{manager!r} is neither 'pip' nor 'uv'"
        )
    return manager


def _wheels_dir(manifest: PluginManifest | None, given: str | None) -> str:
    if given and given != DEFAULT_WHEELS_DIR:
        return given
    return manifest.wheels_dir if manifest else DEFAULT_WHEELS_DIR


def _options(
    manifest: PluginManifest | None,
    manager: str,
    given: Sequence[str] | Mapping[str, Any] | None,
) -> dict[str, Any]:
    options = given
    if options is None and manifest and (manifest.package_manager or "pip") == manager:
        options = manifest.package_manager_options
    if isinstance(options, str):
        raise PluginManifestError(
            path="package_manager_options",
            reason=f"{options!r} is a string, not a list or a mapping",
        )
    if isinstance(options, Mapping):
        return dict(options)
    key, defaults = _INSTALL_OPTIONS[manager]
    return {key: list(dict.fromkeys([*defaults, *options]))} if options else {}


def _lines(folder: Path | None, requirements_file: Path | str | None, wheels: str) -> list[str]:
    file = _requirements_path(folder, requirements_file)
    lines = list(read_requirements(file, plugin_root=folder)) if file else []
    if folder:
        lines += wheel_lines(find_wheels(folder, wheels))
        lines += _content_line(folder, lines)
    return lines


def _requirements_path(folder: Path | None, given: Path | str | None) -> Path | None:
    if given is None:
        default = folder / DEFAULT_REQUIREMENTS if folder else None
        return default if default and default.is_file() else None
    places = [folder / given, Path(given)] if folder else [Path(given)]
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise PluginRequirementsError(
            path=str(places[0]),
            reason="there is no such file",
            hint="A requirements_file is looked up in the plugin folder first, then in the current folder.",
        )
    return found


def _readable(runtime_env: Mapping[str, Any], folder: Path | None) -> dict[str, Any]:
    # Ray would look a requirements file up on the head node, so it is read here. Ray takes only
    # strings as env_vars, so numbers and bools become text.
    plain = dict(runtime_env)
    for key in PACKAGE_MANAGERS:
        if isinstance(plain.get(key), str):
            plain[key] = {"packages": _lines_of_named(folder, plain[key])}
    if isinstance(plain.get("env_vars"), Mapping):
        plain["env_vars"] = {
            name: scalar_text(value) if isinstance(value, (int, float)) else value
            for name, value in plain["env_vars"].items()
        }
    return plain


def _lines_of_named(folder: Path | None, name: str) -> list[str]:
    path = _requirements_path(folder, name)
    return list(read_requirements(path, plugin_root=folder)) if path else []


def _env_vars(env: Mapping[str, Any]) -> dict[str, str]:
    for name, value in env.items():
        if not isinstance(value, (str, int, float, type(None))):
            raise PluginManifestError(
                path=f"env.{name}", reason=f"{type(value).__name__} is not a type for env values"
            )
    return {str(name): scalar_text(value) for name, value in env.items()}


def _content_line(folder: Path, lines: list[str]) -> list[str]:
    # Ray reuses an installed environment while its lines stay the same, and a rebuilt wheel keeps
    # its name. A comment that changes with the files makes Ray install again.
    named = sorted({path for line in lines for path in _referenced_paths(line)})
    if not named:
        return []
    digest = hashlib.sha256()
    for file in (file for path in named for file in _files_below(folder / path)):
        digest.update(f"{file.relative_to(folder).as_posix()}\0".encode())
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return [f"# local files: sha256 {digest.hexdigest()[:16]}"]


def needed_files(runtime_env: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the paths that its pip or uv lines install from the plugin folder, relative to it.

    The package must include them whatever ``.gitignore`` says, because the cluster installs them.
    """
    lists = [runtime_env[key]["packages"] for key in PACKAGE_MANAGERS if runtime_env.get(key)]
    paths = (path for lines in lists for line in lines for path in _referenced_paths(line))
    return tuple(dict.fromkeys(path for path in paths if path))


def _referenced_paths(line: str) -> list[str]:
    if line.startswith("#"):
        return []
    return re.findall(re.escape(WORKING_DIR) + r"/?([^\s;\[#'\"]*)", line)


def _files_below(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
        return
    for here, folders, names in os.walk(path):
        folders[:] = sorted(f for f in folders if f not in _NO_CONTENT)
        yield from (Path(here, name) for name in sorted(names) if Path(here, name).is_file())


_NO_CONTENT = frozenset({".git", ".venv", "venv", "__pycache__"})
