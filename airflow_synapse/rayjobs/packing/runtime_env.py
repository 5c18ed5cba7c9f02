"""Merging runtime_envs: the last wins, what is a list grows."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from airflow_synapse.exceptions import RayJobSubmissionError
from airflow_synapse.plugin.env_vars import NAME_RULE, is_name

MAX_ARGUMENT = 128 * 1024
"""Bytes of a command, or of a variable with its name, that are too many for Linux
(``MAX_ARG_STRLEN``)."""

_MAX_IN_ALL = MAX_ARGUMENT - 1024
"""Bytes of runtime_env and metadata in all: Ray hands them to the driver in one variable, and the
variables to its own worker in one argument, each with some words of its own. Without this a job waits
PENDING for ever."""

_IN_A_FILE = (
    "Put what is large into a file of working_dir or, of an action, into action_params, which may be "
    "of any size."
)

_INSTALLERS = ("pip", "uv", "conda")
_IMAGES = ("image_uri", "container")
_BESIDE_IMAGES = frozenset({"config", "env_vars"})
_WITH_PACKAGES = ("pip", "uv")


def merge_runtime_env(*layers: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return one runtime_env of these, without touching them.

    Mappings are merged, lists extended, of everything else the last wins; None takes a key away.
    ``pip`` and ``uv`` come out as mappings with ``packages``, or not at all if they install
    nothing.

    :raises RayJobSubmissionError: if a layer or what comes out can't be a runtime_env.
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
    """See that there is nothing beside an image that Ray does not take there.

    :param is_action: Whether a package of ours comes with the job.
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
        f"its runtime_env has {image} together with {', '.join(beside) or code}, and beside {image} "
        "Ray takes nothing but config and env_vars",
        f"Leave out {image}, or put code and packages into the image and run a shell command "
        "without a working_dir.",
    )


def check_sendable(runtime_env: Mapping[str, Any]) -> None:
    """See that JSON can hold all of it.

    :raises RayJobSubmissionError: if not, naming what it can't hold.
    """
    for path, value in _not_json(runtime_env, "runtime_env"):
        raise _refused(f"{path} is a {type(value).__name__}, which JSON can't hold")


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
    """See that a node can start the job.

    :raises RayJobSubmissionError: if something is too long for it.
    """
    if (size := len(entrypoint.encode())) >= MAX_ARGUMENT:
        raise _refused(
            f"its entrypoint has {size:,} bytes, and Linux takes fewer than {MAX_ARGUMENT:,}",
            _IN_A_FILE,
        )
    for name, value in runtime_env.get("env_vars", {}).items():
        if (size := len(f"{name}={value}".encode())) >= MAX_ARGUMENT:
            raise _refused(
                f"its environment variable {name!r} has {size:,} bytes with its name, and Linux takes "
                f"fewer than {MAX_ARGUMENT:,}",
                _IN_A_FILE,
            )
    size = len(json.dumps({"runtime_env": runtime_env, "metadata": metadata}))
    if size > _MAX_IN_ALL:
        raise _refused(
            f"its runtime_env, environment variables among it, and its metadata have {size:,} bytes in "
            f"all, and a node takes {_MAX_IN_ALL:,}",
            _IN_A_FILE,
        )


def _normalised(layer: Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(layer, Mapping):
        raise _refused(f"its runtime_env is a {type(layer).__name__}, not a mapping")
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
            "Give it as requirements_file, or give the requirements as a list.",
        )
    raise _refused(f"runtime_env[{key!r}] is a {type(value).__name__}, not a list or a mapping")


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
            f"its runtime_env has both {' and '.join(installers)}, of which Ray takes one",
            "Requirements go to package_manager ('pip' or 'uv'): set it to the one you mean.",
        )
    for key in _WITH_PACKAGES:
        _check_packages(key, merged.get(key, {}).get("packages", []))
    env_vars = merged.get("env_vars", {})
    if not isinstance(env_vars, Mapping):
        raise _refused(f"runtime_env['env_vars'] is a {type(env_vars).__name__}, not a mapping")
    for name, value in env_vars.items():
        if not (isinstance(name, str) and isinstance(value, str)):
            raise _refused(
                f"runtime_env['env_vars'][{name!r}] is a {type(value).__name__}, not text"
            )
        if not is_name(name) or not _can_be_value(value):
            raise _refused(
                f"runtime_env['env_vars'][{name!r}] can't be an environment variable of a job, as "
                "shells drop it",
                f"{NAME_RULE} A value is valid Unicode without a NUL.",
            )


def _can_be_value(text: str) -> bool:
    try:
        return b"\0" not in text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        return False


def _check_packages(key: str, packages: Any) -> None:
    where = f"runtime_env[{key!r}]['packages']"
    if not isinstance(packages, list):
        raise _refused(f"{where} is a {type(packages).__name__}, not a list")
    for index, line in enumerate(packages):
        if not isinstance(line, str):
            raise _refused(f"{where}[{index}] is a {type(line).__name__}, not text")


def _refused(reason: str, hint: str = "") -> RayJobSubmissionError:
    return RayJobSubmissionError(reason=reason, hint=hint)
