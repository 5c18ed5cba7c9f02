"""Turns local folders and files of a runtime_env into packages with URIs that a cluster can read."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from airflow_synapse.exceptions import PluginManifestError, RayJobSubmissionError
from airflow_synapse.plugin.action import needed_files
from airflow_synapse.plugin.manifest import PACKAGE_MANAGERS
from airflow_synapse.plugin.uploaded_paths import uploaded_path
from airflow_synapse.plugin.wheels import name_and_version
from airflow_synapse.plurals import a_kind
from airflow_synapse.rayjobs.packing.packages import (
    Package,
    build_directory_package,
    build_files_package,
    build_module_package,
    build_ready_package,
    content_hash,
)

_MAX_LINES_BYTES = 32 * 1024
"""Longer requirements are sent as a file, because a runtime_env must fit into one variable."""


def is_uri(text: object) -> bool:
    """Return whether this is a URI, which the cluster reads itself."""
    return "://" in str(text)


def is_archive(path: object) -> bool:
    """Return whether it is a ``.zip`` on this machine, which is sent as it is."""
    return not is_uri(path) and str(path).lower().endswith(".zip") and Path(str(path)).is_file()


@dataclass(frozen=True)
class LocalCode:
    """How local code is turned into packages.

    :param plugin: The plugin folder, if there is one.
    :param include: The manifest's patterns of files to send although they look like secrets.
    :param entrypoint: ``package.module:attribute`` of the action, "" for a command.
    """

    plugin: Path | None = None
    include: Sequence[str] = ()
    entrypoint: str = ""

    def packed(self, runtime_env: Mapping[str, Any]) -> tuple[dict[str, Any], list[Package]]:
        """Return the runtime_env with URIs in place of paths, and the packages that the URIs name.

        :raises PluginManifestError: if a folder or file can't be sent.
        :raises RayJobSubmissionError: if a value can't be a path.
        """
        _check_paths(runtime_env)
        needed = needed_files(runtime_env)
        env, files = _with_requirements_file(runtime_env)
        excludes = tuple(map(str, env.pop("excludes", None) or ()))
        packages: list[Package] = []
        working_dir = env.get("working_dir")
        if working_dir and not is_uri(working_dir):
            path = Path(working_dir).expanduser()
            packages.append(self._working_dir(path, needed, excludes, files))
        elif files:
            packages.append(build_files_package(files))
        if packages:
            env["working_dir"] = packages[0].uri
            env = _with_content_line(env, packages[0], needed)
        if env.get("py_modules"):
            modules = [self._module(module, excludes) for module in env["py_modules"]]
            env["py_modules"] = [getattr(module, "uri", module) for module in modules]
            packages += [module for module in modules if isinstance(module, Package)]
        return env, packages

    def _working_dir(
        self,
        path: Path,
        needed: Sequence[str],
        excludes: tuple[str, ...],
        files: Mapping[str, bytes],
    ) -> Package:
        if is_archive(path):
            _check_zip(path, needed)
            return build_ready_package(path, "_ray_pkg_{}.zip")
        return build_directory_package(
            path,
            excludes=excludes,
            required=filter(None, needed),
            entrypoint=self.entrypoint,
            include=self.include,
            more=files,
        )

    def _module(self, module: object, excludes: tuple[str, ...]) -> Package | str:
        place = _place(module)
        if is_uri(place):
            return place
        path = Path(place).expanduser()
        if path.is_dir():
            return build_directory_package(
                path,
                excludes=excludes,
                include=self.include,
                inside=self._inside(path),
                include_parent_dir=True,
            )
        if path.is_file() and path.suffix == ".py":
            return build_module_package(path, include=self.include)
        if path.is_file() and path.suffix == ".whl":
            return build_ready_package(path, _wheel_name(path))
        raise PluginManifestError(
            path=str(path),
            reason="there is no such file or folder"
            if not path.exists()
            else "it is not a module: Ray accepts a folder, a .py file or a wheel",
            hint="It is one of runtime_env['py_modules'].",
        )

    def _inside(self, path: Path) -> str:
        if self.plugin is None or not path.absolute().is_relative_to(self.plugin.absolute()):
            return ""
        inside = path.absolute().relative_to(self.plugin.absolute()).as_posix()
        return "" if inside == "." else f"{inside}/"


def _place(module: object) -> str:
    """Return the path or URI of an entry of ``py_modules``."""
    if not isinstance(module, ModuleType):
        return str(module)
    folders = getattr(module, "__path__", None)
    places = [getattr(module, "__file__", None)] if folders is None else list(folders)
    if len(places) != 1 or not places[0]:
        raise RayJobSubmissionError(
            reason=f"the module {module.__name__!r} in runtime_env['py_modules'] is neither a single "
            "file nor a single folder"
        )
    return str(places[0])


def _wheel_name(path: Path) -> str:
    """Return the wheel's name with a build tag for its content, because a rebuilt wheel keeps its name."""
    name_and_version(path)  # refuses what is not a valid wheel name
    name, version, *build, python, abi, platform = path.stem.split("-")
    return "-".join([name, version, f"{build[0] if build else 0}_{{}}", python, abi, platform]) + (
        ".whl"
    )


def _check_zip(path: Path, required: Sequence[str]) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError) as exc:
        raise PluginManifestError(path=str(path), reason="this is not a zip file") from exc
    for needed in filter(None, required):
        if not any(_is_in(name, [needed]) for name in names):
            raise PluginManifestError(
                path=str(path), reason=f"its requirements need {needed}, which it does not contain"
            )


def _with_requirements_file(
    runtime_env: Mapping[str, Any],
) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Return the runtime_env with long requirements in a file of the package, and that file."""
    env = dict(runtime_env)
    working_dir = env.get("working_dir")
    for manager in PACKAGE_MANAGERS:
        lines = (env.get(manager) or {}).get("packages", [])
        content = "".join(f"{line}\n" for line in lines).encode()
        if len(content) <= _MAX_LINES_BYTES or is_uri(working_dir) or is_archive(working_dir):
            continue
        # Ray tells environments apart by their lines, so the name has to change with the content.
        name = f".requirements-{hashlib.sha256(content).hexdigest()[:16]}.txt"
        # With a leading space: some versions of Ray try to open the file after "-r" on the head node.
        env[manager] = {**env[manager], "packages": [f" -r {uploaded_path(name)}"]}
        return env, {name: content}
    return env, {}


def _with_content_line(
    env: dict[str, Any], package: Package, needed: Sequence[str]
) -> dict[str, Any]:
    """Return the runtime_env with a comment that changes with the files that its lines install.

    Ray keeps an installed environment as long as its lines stay the same, and a rebuilt wheel keeps
    its name.
    """
    if not needed:
        return env
    files = [package.ready] if package.ready else package.files
    named = [file for file in files if package.ready or _is_in(file.name, needed)]
    comment = f"# local files: sha256 {content_hash(named)[:16]}"
    for manager in PACKAGE_MANAGERS:
        if env.get(manager):
            env[manager] = {**env[manager], "packages": [*env[manager]["packages"], comment]}
    return env


def _is_in(name: str, places: Sequence[str]) -> bool:
    return any(not place or f"{name}/".startswith(f"{place.rstrip('/')}/") for place in places)


def _check_paths(runtime_env: Mapping[str, Any]) -> None:
    """Refuse values that can't be paths on this machine. Ray would never see them."""
    given: dict[str, Any] = {"working_dir": [runtime_env.get("working_dir", "")]}
    kinds = {"py_modules": (str, Path, ModuleType)}
    for key in ("py_modules", "excludes"):
        given[key] = runtime_env.get(key) or []
        if not isinstance(given[key], (list, tuple)):
            raise RayJobSubmissionError(
                reason=f"runtime_env[{key!r}] is {a_kind(given[key])}, not a list"
            )
    for key, paths in given.items():
        for path in paths:
            if not isinstance(path, kinds.get(key, (str, Path))):
                raise RayJobSubmissionError(
                    reason=f"runtime_env[{key!r}]: a value of type {type(path).__name__} is not a path"
                )
