"""Turns a plugin folder and a caller's arguments into a job for Ray. Sends nothing itself."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeGuard

from airflow_synapse.exceptions import PluginManifestError, RayJobSubmissionError
from airflow_synapse.masking import without_secrets
from airflow_synapse.plugin.action import (
    RUNTIME_ENTRYPOINT,
    action_runtime_files,
    build_runtime_env,
    call_document,
    find_action,
    readable_runtime_env,
)
from airflow_synapse.plugin.entrypoints import entrypoint_of
from airflow_synapse.plugin.function import FunctionSource
from airflow_synapse.plugin.manifest import (
    MANIFEST_NAME,
    PACKAGE_MANAGERS,
    PluginManifest,
    load_manifest,
)
from airflow_synapse.plugin.params import check_params, encode_params
from airflow_synapse.plugin.requirements import check_lines
from airflow_synapse.plurals import a_kind
from airflow_synapse.rayjobs.models import ACTION_KEY, PLUGIN_KEY, JobSpec
from airflow_synapse.rayjobs.packing.local_code import LocalCode, is_archive, is_uri
from airflow_synapse.rayjobs.packing.packages import Package, build_files_package
from airflow_synapse.rayjobs.packing.resources import REQUEST_NAMES, RESOURCE_NAMES, Resources
from airflow_synapse.rayjobs.packing.runtime_env import (
    check_image,
    check_sendable,
    check_size,
    merge_runtime_env,
)

_MERGED = frozenset({"metadata", "env", "runtime_env"})
"""Arguments of one submission that are merged into the executor's own."""


@dataclass(frozen=True)
class PluginSource:
    """Where a job's code and environment come from; see :class:`.RayJobExecutor`."""

    working_dir: str | Path | None = field(default=None, repr=False)
    requirements_file: str | Path | None = None
    package_manager: str | None = None
    package_manager_options: Mapping[str, Any] | Sequence[str] | None = field(
        default=None, repr=False
    )
    wheels_dir: str | None = None
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    runtime_env: Mapping[str, Any] = field(default_factory=dict, repr=False)
    requirements: Sequence[str] = field(default=(), repr=False)


@dataclass(frozen=True)
class JobRequest:
    """What one submission asks for besides the code. It has been checked.

    :param resources: Ray's ``entrypoint_*`` arguments.
    :param metadata: Strings kept with the job.
    :param env: Environment variables, which win over the executor's.
    :param runtime_env: Merged last.
    """

    resources: Mapping[str, Any]
    metadata: Mapping[str, str]
    env: Mapping[str, Any] = field(default_factory=dict, repr=False)
    runtime_env: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def of(
        cls, resources: Resources, metadata: Mapping[str, str], kwargs: Mapping[str, Any]
    ) -> JobRequest:
        """Combine an executor's defaults with the arguments of one submission.

        :param kwargs: Those of Ray's submission, and the executor's own for what a job may have of its own:
            resources, ``metadata``, ``env`` and ``runtime_env``.
        :raises RayJobSubmissionError: if an argument is unknown or invalid.
        """
        unknown = sorted(set(kwargs) - REQUEST_NAMES - RESOURCE_NAMES - _MERGED)
        if unknown:
            hint = "Pass the submission ID as job_id." if "submission_id" in unknown else ""
            raise RayJobSubmissionError(
                reason=f"Ray's job submission does not accept {', '.join(unknown)}", hint=hint
            )
        _check_mapping("metadata", metadata)
        merged = {name: kwargs.get(name) or {} for name in _MERGED}
        for name in ("metadata", "env"):
            _check_mapping(name, merged[name])
        own = {name: kwargs[name] for name in RESOURCE_NAMES if kwargs.get(name) is not None}
        overrides = {name: value for name, value in kwargs.items() if name in REQUEST_NAMES}
        return cls(
            resources=replace(resources, **own).to_request(overrides),
            metadata=_checked_metadata({**metadata, **merged["metadata"]}),
            env=merged["env"],
            runtime_env=merged["runtime_env"],
        )


@dataclass(frozen=True)
class PreparedJob:
    """A job that can be sent.

    :param packages: Packages that its runtime_env names and the cluster may not have yet.
    """

    spec: JobSpec
    packages: tuple[Package, ...] = ()

    def with_env_vars(self, env_vars: Mapping[str, str]) -> PreparedJob:
        """Return the job with these variables in its environment, except those that it has already."""
        if not env_vars:
            return self
        runtime_env = self.spec.runtime_env
        all_vars = {**env_vars, **(runtime_env.get("env_vars") or {})}
        changed = {**runtime_env, "env_vars": all_vars}
        return replace(self, spec=replace(self.spec, runtime_env=changed))


def prepare_action(
    source: PluginSource,
    request: JobRequest,
    action_name: str | Callable[..., Any],
    params: Mapping[str, Any] | None,
) -> PreparedJob:
    """Return an action of a plugin as a job.

    :param action_name: Its name, an entrypoint, or the class or function that it runs.
    :raises PluginManifestError: if the plugin's folder can't be used.
    :raises ActionNotFoundError: if it has no such action.
    :raises ActionParamsError: if the params can't be sent or break the action's schema.
    :raises RayJobSubmissionError: if Ray would not accept the runtime_env.
    """
    manifest = None if _archive(source) else load_manifest(_folder(source))
    plugin = manifest.name if manifest else without_secrets(str(source.working_dir))
    if not isinstance(action_name, str):
        action_name = _name_of(action_name, _folder(source), manifest)
    action = find_action(manifest, action_name, plugin=plugin)
    params_json = encode_params(params, action_name=action.name)
    check_params(params, action.params_schema, action.name)
    call = call_document(action.entrypoint, params_json, action_name=action.name, plugin=plugin)
    runtime = build_files_package(action_runtime_files(call))
    version = f" {manifest.version}" if manifest and manifest.version else ""
    return _prepared(
        source,
        request,
        manifest,
        entrypoint=RUNTIME_ENTRYPOINT,
        action=action.entrypoint,
        runtime=(runtime,),
        call={"action": action.entrypoint, "params": _sorted(params_json)},
        metadata={ACTION_KEY: action.name, PLUGIN_KEY: f"{plugin}{version}"},
    )


def _name_of(target: Callable[..., Any], folder: Path, manifest: PluginManifest | None) -> str:
    """Return the name of the manifest's action that runs it, or else its entrypoint."""
    entrypoint = entrypoint_of(target, folder)
    actions = manifest.actions.values() if manifest else ()
    return next((one.name for one in actions if one.entrypoint == entrypoint), entrypoint)


def prepare_function(
    source: PluginSource,
    request: JobRequest,
    function: FunctionSource,
    params: Mapping[str, Any] | None,
) -> PreparedJob:
    """Return a Python function as a job. Its folder, if it has one, needs no manifest.

    :raises PluginManifestError: if the folder or the requirements can't be used.
    :raises ActionParamsError: if the params can't be sent.
    :raises RayJobSubmissionError: if Ray would not accept the runtime_env.
    """
    params_json = encode_params(params, action_name=function.name)
    call = call_document(function.entrypoint, params_json, action_name=function.name)
    files = {f"{function.module}.py": function.source.encode(), **action_runtime_files(call)}
    return _prepared(
        source,
        request,
        _folder_as_it_is(source),
        entrypoint=RUNTIME_ENTRYPOINT,
        runtime=(build_files_package(files),),
        call={"function": function.source, "params": _sorted(params_json)},
        metadata={ACTION_KEY: function.name},
    )


def prepare_entrypoint(source: PluginSource, request: JobRequest, entrypoint: str) -> PreparedJob:
    """Return a shell command as a job. Its folder, if it has one, needs no manifest.

    :raises PluginManifestError: if the folder can't be used.
    :raises RayJobSubmissionError: if Ray would not accept the command or the runtime_env.
    """
    if not isinstance(entrypoint, str) or not entrypoint.strip() or "\0" in entrypoint:
        raise RayJobSubmissionError(
            reason=f"its entrypoint is {entrypoint!r}, which is not a shell command"
        )
    return _prepared(source, request, _folder_as_it_is(source), entrypoint=entrypoint)


def _folder_as_it_is(source: PluginSource) -> PluginManifest | None:
    """Return a folder's manifest, an empty one if it has none, or None if there is no folder."""
    if not _is_given(source.working_dir) or _archive(source):
        return None
    folder = _folder(source)
    path = folder / MANIFEST_NAME
    return (
        load_manifest(folder) if path.exists() else PluginManifest(folder, path, name=folder.name)
    )


def _prepared(
    source: PluginSource,
    request: JobRequest,
    manifest: PluginManifest | None,
    *,
    entrypoint: str,
    action: str = "",
    runtime: tuple[Package, ...] = (),
    call: Mapping[str, str] | None = None,
    metadata: Mapping[str, str] | None = None,
) -> PreparedJob:
    _check_mapping("env", source.env)
    _check_mapping("runtime_env", source.runtime_env)
    layers = build_runtime_env(
        manifest,
        requirements_file=source.requirements_file if _is_given(source.requirements_file) else None,
        package_manager=source.package_manager,
        package_manager_options=source.package_manager_options,
        wheels_dir=source.wheels_dir,
        env={**source.env, **request.env},
        runtime_env=source.runtime_env,
        requirements=source.requirements,
    )
    archive = _archive(source)
    folder = manifest.folder if manifest else None
    merged = merge_runtime_env(
        {"working_dir": archive} if archive else {},
        *layers,
        readable_runtime_env(request.runtime_env, folder),
    )
    check_image(merged, is_action=bool(runtime))
    for manager in PACKAGE_MANAGERS:
        _check_lines(manager, merged.get(manager) or {})
    include = manifest.include if manifest else ()
    code = LocalCode(plugin=folder, include=include, entrypoint=action)
    runtime_env, packages = code.packed(merged)
    if source.runtime_env or request.runtime_env or (manifest and manifest.runtime_env):
        runtime_env = _parsed_by_ray(runtime_env)
    if runtime:
        modules = [package.uri for package in runtime] + runtime_env.get("py_modules", [])
        runtime_env["py_modules"] = modules
    metadata = {**request.metadata, **(metadata or {})}
    check_sendable(runtime_env)
    check_size(entrypoint, runtime_env, metadata)
    spec = JobSpec(
        entrypoint,
        runtime_env,
        metadata,
        request.resources,
        call=call or {},
        own_packages=tuple(package.uri for package in runtime),
    )
    return PreparedJob(spec=spec, packages=(*packages, *runtime))


def _sorted(params_json: str) -> str:
    """Return params in which only values make a difference, not the order of their names."""
    return json.dumps(json.loads(params_json), sort_keys=True)


def _check_lines(manager: str, field: Mapping[str, Any]) -> None:
    options = field.get("pip_install_options") or field.get("uv_pip_install_options") or ()
    asked = [option for option in options if option == "--require-hashes"]
    check_lines([*asked, *field.get("packages", ())], manager=manager)


def _parsed_by_ray(runtime_env: dict[str, Any]) -> dict[str, Any]:
    """Return the runtime_env as Ray's own class reads it, which refuses what Ray can't use.

    Called only for a runtime_env that a person wrote, because importing Ray takes seconds.

    :raises RayJobSubmissionError: if Ray refuses it.
    """
    from ray.runtime_env import RuntimeEnv

    try:
        return dict(RuntimeEnv(**runtime_env).to_dict())
    except (TypeError, ValueError, OSError, AssertionError) as exc:
        # Its own text may repeat a secret.
        raise RayJobSubmissionError(reason=f"Ray can't use its runtime_env: {exc}") from None


def _is_given(path: str | Path | None) -> TypeGuard[str | Path]:
    """Return whether it is a path at all: a template may have rendered to nothing."""
    return path is not None and bool(str(path).strip())


def _archive(source: PluginSource) -> str | None:
    """Return ``working_dir`` if it is a zip: a URI that Ray can read, or a file to send."""
    if not _is_given(source.working_dir):
        return None
    if not is_uri(source.working_dir):
        path = Path(source.working_dir).expanduser()
        return str(path) if is_archive(path) else None
    uri = str(source.working_dir)
    if not uri.partition("?")[0].endswith(".zip"):
        raise PluginManifestError(
            path=uri, reason="Ray accepts a remote working_dir only as a .zip"
        )
    return uri


def _folder(source: PluginSource) -> Path:
    if not _is_given(source.working_dir):
        raise PluginManifestError(
            path="working_dir",
            reason="it is not set",
            hint="Set it to the plugin folder, a .zip, or the URI of a .zip.",
        )
    return Path(source.working_dir).expanduser()


def _check_mapping(name: str, value: object) -> None:
    if not isinstance(value, Mapping):
        raise RayJobSubmissionError(reason=f"{name} is {a_kind(value)}, not a mapping")


def _checked_metadata(metadata: Mapping[str, Any]) -> dict[str, str]:
    for key, value in metadata.items():
        if not (isinstance(key, str) and isinstance(value, str)):
            raise RayJobSubmissionError(
                reason=f"its metadata {key!r} is {a_kind(value)}, but Ray accepts only strings"
            )
    return dict(metadata)
