"""Turns a plugin's action into what a Ray job needs: a runtime_env, a command and a call."""

from __future__ import annotations

import json
import os
import posixpath
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_synapse.exceptions import (
    ActionNotFoundError,
    PluginManifestError,
    PluginRequirementsError,
)
from airflow_synapse.plugin.env_vars import NAME_RULE, check_values, is_name
from airflow_synapse.plugin.manifest import (
    DEFAULT_WHEELS_DIR,
    PACKAGE_MANAGERS,
    PluginAction,
    PluginManifest,
    action_from_entrypoint,
    scalar_text,
)
from airflow_synapse.plugin.requirements import read_requirements, want_hashes
from airflow_synapse.plugin.uploaded_paths import uploaded_paths
from airflow_synapse.plugin.wheels import find_wheels, wheel_lines

if TYPE_CHECKING:
    from importlib.abc import Traversable

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
    return dict(_sources(files("airflow_synapse.action_runtime"), RUNTIME_MODULE))


def _sources(folder: Traversable, path: str) -> Iterator[tuple[str, bytes]]:
    for entry in sorted(folder.iterdir(), key=lambda entry: (entry.is_dir(), entry.name)):
        if entry.is_dir():
            yield from _sources(entry, f"{path}/{entry.name}")
        elif entry.name.endswith(".py"):
            yield f"{path}/{entry.name}", entry.read_bytes()


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
    lines = [*_lines(folder, requirements_file), *requirements]
    if folder:
        wheels = find_wheels(folder, _wheels_dir(manifest, wheels_dir))
        is_hashed = want_hashes(lines, manager=manager)
        lines += wheel_lines(wheels, hashed_in=folder if is_hashed else None)
    if lines:
        options = _options(manifest, manager, package_manager_options)
        generated[manager] = {"packages": lines, **options}
    if manifest and manifest.env:
        generated["env_vars"] = dict(manifest.env)
    own = manifest.runtime_env if manifest else {}
    return (
        generated,
        readable_runtime_env(own, folder, is_of_manifest=True),
        {"env_vars": _env_vars(env)} if env else {},
        readable_runtime_env(runtime_env or {}, folder),
    )


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


def _lines(folder: Path | None, requirements_file: Path | str | None) -> tuple[str, ...]:
    file = _requirements_path(folder, requirements_file)
    return read_requirements(file, plugin_root=folder) if file else ()


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


def readable_runtime_env(
    runtime_env: Any, folder: Path | None, *, is_of_manifest: bool = False
) -> dict[str, Any]:
    """Return a runtime_env as Ray takes it, with its local files read or found.

    A requirements file, which Ray would look up on the cluster's head node, is read here, and
    numbers and bools among the env_vars become text.

    :param folder: The plugin folder, where relative paths are looked up first.
    :param is_of_manifest: Whether they are looked up nowhere else.
    :raises PluginManifestError: if a requirements file can't be used.
    """
    if not isinstance(runtime_env, Mapping):
        return runtime_env  # type: ignore[no-any-return]  # merging it raises the error
    plain = dict(runtime_env)
    for key in PACKAGE_MANAGERS:
        if (name := _named_file(plain.get(key), is_pip=key == "pip")) is not None:
            rest = plain[key] if isinstance(plain[key], Mapping) else {}
            plain[key] = {**rest, "packages": _lines_of_named(folder, name)}
    if isinstance(plain.get("env_vars"), Mapping):
        plain["env_vars"] = {
            name: scalar_text(value) if isinstance(value, (int, float)) else value
            for name, value in plain["env_vars"].items()
        }
    if isinstance(plain.get("py_modules"), (list, tuple)):
        modules = plain["py_modules"]
        plain["py_modules"] = [_located(path, folder, is_of_manifest) for path in modules]
    if str(plain.get("conda")).endswith((".yaml", ".yml")):
        plain["conda"] = _located(plain["conda"], folder, is_of_manifest)
    if is_of_manifest and "working_dir" in plain:
        plain["working_dir"] = _located(plain["working_dir"], folder, is_of_manifest)
    return plain


def _named_file(given: Any, *, is_pip: bool) -> str | None:
    """Return the requirements file that a ``pip`` or ``uv`` field names, if it names one."""
    packages = given.get("packages") if is_pip and isinstance(given, Mapping) else given
    return str(packages) if isinstance(packages, (str, os.PathLike)) else None


def _located(path: Any, folder: Path | None, is_of_manifest: bool) -> Any:  # noqa: FBT001  # handed on
    if folder is None or not isinstance(path, (str, Path)) or "://" in str(path) or not str(path):
        return path
    place = folder / Path(path).expanduser()
    return str(place.absolute()) if is_of_manifest or place.exists() else path


def _lines_of_named(folder: Path | None, name: str) -> list[str]:
    return list(_lines(folder, name))


def _env_vars(env: Mapping[str, Any]) -> dict[str, str]:
    for name, value in env.items():
        if not is_name(name):
            raise PluginManifestError(
                path=f"env.{name}", reason="shells drop variables with this name", hint=NAME_RULE
            )
        if not isinstance(value, (str, int, float, type(None))):
            raise PluginManifestError(
                path=f"env.{name}", reason=f"{type(value).__name__} is not a type for env values"
            )
    texts = {name: scalar_text(value) for name, value in env.items()}
    check_values(texts)
    return texts


def needed_files(runtime_env: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the paths that its pip or uv lines install from the plugin folder, relative to it.

    The package must include them whatever ``.gitignore`` says, because the cluster installs them. "" is the
    folder itself.
    """
    lists = [runtime_env[key]["packages"] for key in PACKAGE_MANAGERS if runtime_env.get(key)]
    named = (path for lines in lists for line in lines for path in uploaded_paths(line))
    paths = (posixpath.normpath(path) for path in named)
    return tuple(dict.fromkeys("" if path == "." else path for path in paths))
