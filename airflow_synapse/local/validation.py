"""Checks a plugin folder as far as that is possible without a cluster and without its requirements."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from airflow_synapse.exceptions import AirflowSynapseError
from airflow_synapse.plugin.manifest import (
    MANIFEST_NAME,
    PACKAGE_MANAGERS,
    PluginAction,
    PluginManifest,
    load_manifest,
)
from airflow_synapse.plugin.modules import module_files
from airflow_synapse.plurals import counted
from airflow_synapse.rayjobs.diagnosis import FAIL, OK, SKIPPED, WARN, Finding
from airflow_synapse.rayjobs.packing.packages import Package
from airflow_synapse.rayjobs.packing.preparation import (
    JobRequest,
    PluginSource,
    PreparedJob,
    prepare_entrypoint,
)
from airflow_synapse.rayjobs.packing.resources import Resources

_LARGEST = 3
_MIB = 1024 * 1024


@dataclass(frozen=True)
class Validation:
    """What is known about a plugin folder.

    :param findings: One for each step, in order.
    :param files: The files that would be sent, as pairs of name and bytes.
    """

    findings: tuple[Finding, ...]
    files: tuple[tuple[str, int], ...] = ()


def validate_plugin(folder: Path | str) -> Validation:
    """Check a plugin's manifest, entrypoints, requirements and package. Sends and runs nothing."""
    try:
        manifest = load_manifest(Path(folder).expanduser())
    except AirflowSynapseError as exc:
        skipped = [Finding(step, SKIPPED, "needs the manifest") for step in ("package", "actions")]
        return Validation((_failed("manifest", exc), *skipped))
    try:
        source = PluginSource(working_dir=manifest.folder)
        job = prepare_entrypoint(source, JobRequest.of(Resources(), {}, {}), "true")
    except AirflowSynapseError as exc:
        found = (_failed("package", exc), *_actions(manifest, None))
        return Validation((_manifest(manifest), *found))
    package = job.packages[0]
    files = tuple((file.name, file.size) for file in package.files)
    found = (_requirements(job), _environment(job), _package(package), *_actions(manifest, files))
    return Validation((_manifest(manifest), *found), files)


def _failed(step: str, exc: AirflowSynapseError) -> Finding:
    return Finding(step, FAIL, str(exc), error=exc)


def _manifest(manifest: PluginManifest) -> Finding:
    name = " ".join(part for part in (manifest.name, manifest.version) if part)
    count = counted(len(manifest.actions), "action")
    if not manifest.actions:
        return Finding(
            "manifest",
            WARN,
            f"{name} has no actions.",
            f"Name them under actions in {MANIFEST_NAME}, or submit entrypoints package.module:attribute.",
        )
    return Finding("manifest", OK, f"{name} has {count}: {', '.join(manifest.actions)}.")


def _requirements(job: PreparedJob) -> Finding:
    env = job.spec.runtime_env
    for manager in PACKAGE_MANAGERS:
        lines = [line for line in (env.get(manager) or {}).get("packages", ()) if line[:1] != "#"]
        if lines:
            more = "" if len(lines) <= _LARGEST else f" and {len(lines) - _LARGEST} more"
            told = f"{manager} installs {', '.join(lines[:_LARGEST])}{more}."
            return Finding("requirements", OK, told)
    return Finding("requirements", OK, "Nothing is installed.")


def _environment(job: PreparedJob) -> Finding:
    env = dict(job.spec.runtime_env)
    names = sorted(env.pop("env_vars", {}))
    others = sorted(env.keys() - {"working_dir", *PACKAGE_MANAGERS})
    told = [f"{counted(len(names), 'variable')} ({', '.join(names)})"] if names else []
    told += [f"runtime_env has {', '.join(others)}"] if others else []
    return Finding("environment", OK, f"{'; '.join(told) or 'No variables are set'}.")


def _package(package: Package) -> Finding:
    largest = sorted(package.files, key=lambda file: -file.size)[:_LARGEST]
    named = ", ".join(f"{file.name} ({_size(file.size)})" for file in largest)
    count = counted(len(package.files), "file")
    return Finding("package", OK, f"{count}, {_size(package.size)}. The largest: {named}.")


def _size(size: int) -> str:
    return f"{size / _MIB:.1f} MiB" if size >= _MIB else f"{size:,} bytes"


def _actions(
    manifest: PluginManifest, files: Iterable[tuple[str, int]] | None
) -> Iterator[Finding]:
    sent = None if files is None else {name for name, _ in files}
    for action in manifest.actions.values():
        yield _action(action, manifest.folder, lambda name: sent is None or name in sent)


def _action(action: PluginAction, folder: Path, is_sent: Callable[[str], bool]) -> Finding:
    step = f"action {action.name}"
    there = [name for name in module_files(action.entrypoint) if (folder / name).is_file()]
    module, _, attribute = action.entrypoint.partition(":")
    if not there:
        return _elsewhere(step, module, folder)
    file = there[0]
    if not is_sent(file):
        told = f"{file} is left out of what is sent."
        return Finding(step, FAIL, told, "See .gitignore and .rayignore.")
    try:
        names = _names(ast.parse((folder / file).read_bytes(), filename=file))
    except (SyntaxError, ValueError, OSError) as exc:
        return Finding(step, FAIL, f"{file} can't be read as Python: {exc}.")
    first = attribute.partition(".")[0]
    if names is not None and first not in names:
        told = f"{file} defines no {first}."
        return Finding(step, FAIL, told, f"The entrypoint is {action.entrypoint}.")
    return Finding(step, OK, f"{action.entrypoint} is in {file}.")


def _elsewhere(step: str, module: str, folder: Path) -> Finding:
    first = module.partition(".")[0]
    if (folder / first).is_dir() or (folder / f"{first}.py").is_file():
        return Finding(step, FAIL, f"{folder} has a {first}, but no module {module} in it.")
    told = f"The module {module} is not in the folder."
    return Finding(step, WARN, told, "Make sure that the requirements or the cluster have it.")


def _names(tree: ast.Module) -> set[str] | None:
    """Return the names that a module defines, or None if only running it could tell."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            names |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
    return None if names & {"*", "__getattr__"} else names
