"""Merges runtime_envs: the last value wins, and lists are extended."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from airflow_synapse.exceptions import RayJobSubmissionError
from airflow_synapse.plugin.env_vars import NAME_RULE, is_name
from airflow_synapse.plurals import a_kind

MAX_ARGUMENT = 128 * 1024
"""The bytes at which Linux refuses a command, or a variable with its name
(``MAX_ARG_STRLEN``)."""

_MAX_IN_ALL = MAX_ARGUMENT - 1024
"""The most bytes of runtime_env and metadata together. Ray passes them to the driver in one variable,
and the variables to its own worker in one argument, each with some text of its own. Without this
limit, a job that is too large stays PENDING forever."""

_IN_A_FILE = (
    "Put large values into a file in working_dir or, for an action, into action_params, which may be "
    "of any size."
)

_INSTALLERS = ("pip", "uv", "conda")
_IMAGES = ("image_uri", "container")
_BESIDE_IMAGES = frozenset({"config", "env_vars"})
_WITH_PACKAGES = ("pip", "uv")


def merge_runtime_env(*layers: Mapping[str, Any] | None) -> dict[str, Any]:
    """Merge these into one runtime_env without changing them.

    Mappings are merged and lists extended. Of other values, the last wins, and None removes a key.
    ``pip`` and ``uv`` come out as mappings with ``packages``, or not at all if they install
    nothing.

    :raises RayJobSubmissionError: if a layer or the result is not a valid runtime_env.
    """
    merged: dict[str, Any] = {}
    for layer in layers:
        merged = _merged(merged, _normalised(layer or {}))
    for key in _WITH_PACKAGES:
        if key in merged and not merged[key].get("packages"):
            del merged[key]
    _check(merged)
    return merged


def check_image(runtime_env: Mapping[str, Any], *, is_action: bool) -> None:
    """Check that a runtime_env with an image has only fields that Ray accepts beside it.

    :param is_action: Whether our own package is sent with the job.
    :raises RayJobSubmissionError: naming the fields.
    """
    image = next((key for key in _IMAGES if runtime_env.get(key)), None)
    if image is None:
        return
    given = {key for key, value in runtime_env.items() if value and not key.startswith("_")}
    beside = sorted(given - _BESIDE_IMAGES - {image})
    if not beside and not is_action:
        return
    code = "the action's own code, which is sent as py_modules"
    raise _refused(
        f"its runtime_env has {image} together with {', '.join(beside) or code}, but with {image} "
        "Ray accepts only config and env_vars",
        f"Remove {image}, or put code and packages into the image and run a shell command "
        "without a working_dir.",
    )


def check_sendable(runtime_env: Mapping[str, Any]) -> None:
    """Check that JSON can represent all of it.

    :raises RayJobSubmissionError: naming a value that JSON can't represent.
    """
    for path, value in _not_json(runtime_env, "runtime_env"):
        raise _refused(f"{path} is {a_kind(value)}, which JSON can't represent")


def _not_json(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from [] if isinstance(key, str) else [(f"the key {key!r} of {path}", key)]
            yield from _not_json(item, f"{path}[{key!r}]")
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from _not_json(item, f"{path}[{index}]")
    elif not isinstance(value, (str, int, float, type(None))):
        yield path, value


def check_size(
    entrypoint: str, runtime_env: Mapping[str, Any], metadata: Mapping[str, str]
) -> None:
    """Check that a node can start the job.

    :raises RayJobSubmissionError: if something is too long for it.
    """
    if (size := len(entrypoint.encode())) >= MAX_ARGUMENT:
        raise _refused(
            f"its entrypoint has {size:,} bytes, but Linux allows fewer than {MAX_ARGUMENT:,}",
            _IN_A_FILE,
        )
    for name, value in runtime_env.get("env_vars", {}).items():
        if (size := len(f"{name}={value}".encode())) >= MAX_ARGUMENT:
            raise _refused(
                f"its environment variable {name!r} has {size:,} bytes with its name, but Linux allows "
                f"fewer than {MAX_ARGUMENT:,}",
                _IN_A_FILE,
            )
    size = len(json.dumps({"runtime_env": runtime_env, "metadata": metadata}))
    if size > _MAX_IN_ALL:
        raise _refused(
            f"its runtime_env, with its environment variables, and its metadata have {size:,} bytes "
            f"together, but a node accepts at most {_MAX_IN_ALL:,}",
            _IN_A_FILE,
        )


def _normalised(layer: Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(layer, Mapping):
        raise _refused(f"its runtime_env is {a_kind(layer)}, not a mapping")
    return {
        key: _packages(key, value) if key in _WITH_PACKAGES else value
        for key, value in layer.items()
    }


def _packages(key: str, value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return {"packages": list(value)}
    if value is None or isinstance(value, Mapping):
        return value
    if isinstance(value, str):
        raise _refused(
            f"runtime_env[{key!r}] names the file {value!r}, which the cluster doesn't have",
            "Pass it as requirements_file, or pass the requirements as a list.",
        )
    raise _refused(f"runtime_env[{key!r}] is {a_kind(value)}, not a list or a mapping")


def _merged(below: Any, above: Any) -> Any:
    if isinstance(above, Mapping):
        merged = dict(below) if isinstance(below, Mapping) else {}
        for key, value in above.items():
            merged[key] = _merged(merged.get(key), value)
        return {key: value for key, value in merged.items() if value is not None}
    if isinstance(above, (list, tuple)):
        kept = list(below) if isinstance(below, list) else []
        return kept + [_merged(None, item) for item in above]
    return above


def _check(merged: Mapping[str, Any]) -> None:
    installers = [key for key in _INSTALLERS if merged.get(key)]
    if len(installers) > 1:
        raise _refused(
            f"its runtime_env has {' and '.join(installers)}, but Ray accepts only one of them",
            "Requirements go to package_manager ('pip' or 'uv'): set it to the one you want.",
        )
    for key in _WITH_PACKAGES:
        _check_packages(key, merged.get(key, {}).get("packages", []))
    env_vars = merged.get("env_vars", {})
    if not isinstance(env_vars, Mapping):
        raise _refused(f"runtime_env['env_vars'] is {a_kind(env_vars)}, not a mapping")
    for name, value in env_vars.items():
        if not (isinstance(name, str) and isinstance(value, str)):
            raise _refused(f"runtime_env['env_vars'][{name!r}] is {a_kind(value)}, not a string")
        if not is_name(name) or not _can_be_value(value):
            raise _refused(
                f"runtime_env['env_vars'][{name!r}] can't be an environment variable of a job, "
                "because shells drop it",
                f"{NAME_RULE} A value must be valid Unicode without NUL characters.",
            )


def _can_be_value(text: str) -> bool:
    try:
        return b"\0" not in text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        return False


def _check_packages(key: str, packages: Any) -> None:
    where = f"runtime_env[{key!r}]['packages']"
    if not isinstance(packages, list):
        raise _refused(f"{where} is {a_kind(packages)}, not a list")
    for index, line in enumerate(packages):
        if not isinstance(line, str):
            raise _refused(f"{where}[{index}] is {a_kind(line)}, not a string")


def _refused(reason: str, hint: str = "") -> RayJobSubmissionError:
    return RayJobSubmissionError(reason=reason, hint=hint)
