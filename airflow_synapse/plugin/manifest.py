"""Reads a plugin's ``config.yaml``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from airflow_synapse.exceptions import ActionNotFoundError, PluginManifestError
from airflow_synapse.plugin.entrypoints import parse_entrypoint
from airflow_synapse.plugin.env_vars import NAME_RULE, check_values, is_name
from airflow_synapse.plurals import a_kind

MANIFEST_NAME = "config.yaml"
PACKAGE_MANAGERS = ("pip", "uv")
DEFAULT_WHEELS_DIR = "wheels"

_WITH_VALUES = frozenset({"env", "runtime_env"})
_VALUE = re.compile(r"=[^'\"]*")
"""What follows ``NAME=`` may be a secret, and is not repeated in errors."""


@dataclass(frozen=True)
class PluginAction:
    """One action of a plugin.

    :param name: Its name in the manifest, or the entrypoint that was given instead.
    :param entrypoint: ``package.module:attribute``.
    :param description: What it does, if the manifest says so.
    :param params_schema: JSON Schema of its params, if the manifest has one.
    """

    name: str
    entrypoint: str
    description: str = ""
    params_schema: Mapping[str, Any] | None = field(default=None, repr=False)


@dataclass(frozen=True)
class PluginManifest:
    """The content of a plugin's ``config.yaml``.

    :param folder: The plugin folder.
    :param path: The manifest file.
    :param name: The plugin's name, or else its code, or else the folder's name.
    :param code: The plugin's code, "" if it has none.
    :param version: The version as written, "" if there is none.
    :param actions: The actions, keyed by name.
    :param env: Environment variables of its jobs. Numbers become text as written.
    :param runtime_env: Ray's runtime_env, as written.
    :param package_manager: "pip", "uv" or None.
    :param package_manager_options: Options for the install command, or fields of Ray's pip or uv.
    :param wheels_dir: The folder of its wheels, relative to the plugin folder.
    :param include: Patterns of files to send although they look like secrets.
    """

    folder: Path
    path: Path
    name: str
    code: str = ""
    version: str = ""
    actions: Mapping[str, PluginAction] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    runtime_env: Mapping[str, Any] = field(default_factory=dict, repr=False)
    package_manager: str | None = None
    package_manager_options: tuple[str, ...] | Mapping[str, Any] = ()
    wheels_dir: str = DEFAULT_WHEELS_DIR
    include: tuple[str, ...] = ()

    def action(self, name: str) -> PluginAction:
        """Return the action of this name.

        :raises ActionNotFoundError: with the names of the plugin's actions.
        """
        try:
            return self.actions[name]
        except KeyError:
            raise ActionNotFoundError(
                action_name=name, plugin=self.name, known=self.actions
            ) from None


def load_manifest(folder: Path | str) -> PluginManifest:
    """Read the manifest of a plugin folder.

    Unknown keys are accepted, because plugins of synapse-sdk have many more.

    :raises PluginManifestError: if the folder or its manifest is missing or wrong. The error names
        the file, key and value, or the line of invalid YAML.
    """
    reader = _Reader(_manifest_path(Path(folder)))
    code = reader.as_written("code")
    return PluginManifest(
        folder=reader.path.parent,
        path=reader.path,
        name=reader.as_written("name") or code or reader.path.parent.resolve().name,
        code=code,
        version=reader.as_written("version"),
        actions=_actions(reader),
        env=_env(reader),
        runtime_env=reader.get("runtime_env", dict, "a mapping") or {},
        package_manager=_package_manager(reader),
        package_manager_options=_package_manager_options(reader),
        wheels_dir=reader.get("wheels_dir", str, "a string") or DEFAULT_WHEELS_DIR,
        include=_texts(reader, "include", reader.get("include", list, "a list of patterns")),
    )


def action_from_entrypoint(entrypoint: str) -> PluginAction:
    """Return an action for an entrypoint that no manifest names.

    :param entrypoint: ``package.module:attribute``. The colon distinguishes it from an action name.
    :raises PluginManifestError: if it does not have this form.
    """
    if ":" not in entrypoint:
        raise PluginManifestError(
            path="entrypoint",
            reason=f"{entrypoint!r} has no colon",
            hint="Write it as package.module:attribute, e.g. plugin.train:run.",
        )
    return PluginAction(name=entrypoint, entrypoint=parse_entrypoint(entrypoint))


def _manifest_path(folder: Path) -> Path:
    path = folder / MANIFEST_NAME
    if not folder.exists():
        raise PluginManifestError(
            path=str(folder),
            reason="there is no such folder",
            hint="Set working_dir to the path of a plugin folder on this machine.",
        )
    if not folder.is_dir():
        raise PluginManifestError(path=str(folder), reason="this is a file, not a plugin folder")
    if not path.is_file():
        raise PluginManifestError(
            path=str(folder),
            reason=f"the folder has no {MANIFEST_NAME}",
            hint=f"A plugin folder needs a {MANIFEST_NAME} that names its actions.",
        )
    return path


class _Reader:
    """Looks up keys in a manifest and raises errors that name the file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        data, written = _load_yaml(path)
        if not isinstance(data, dict):
            raise self.error(f"it is {_short(data)}, not a mapping" if data else "it is empty")
        self.data: dict[Any, Any] = data
        self.written: dict[Any, Any] = written

    def error(self, reason: str, hint: str = "") -> PluginManifestError:
        return PluginManifestError(path=str(self.path), reason=reason, hint=hint)

    def get(self, key: str, kind: type | tuple[type, ...], kind_name: str) -> Any:
        value = self.data.get(key)
        if value is not None and not isinstance(value, kind):
            told = _short(value)
            if key in _WITH_VALUES:
                told = _VALUE.sub("=***", told)
            raise self.error(f"{key} is {told}, not {kind_name}")
        return value

    def as_written(self, key: str) -> str:
        value = self.data.get(key)
        if isinstance(value, (dict, list)):
            raise self.error(f"{key} is {_short(value)}, not a string")
        return "" if value is None else scalar_text(value, self.written.get(key))


def scalar_text(value: object, written: object = None) -> str:
    """Return a YAML scalar as text: as it was written, or else as a shell user expects it.

    1.10 stays ``1.10`` and yes stays ``yes``. A Python bool becomes ``true`` or ``false``, None
    becomes "".
    """
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(written, str):
        return written
    return str(value).lower() if isinstance(value, bool) else str(value)


def _load_yaml(path: Path) -> tuple[Any, dict[Any, Any]]:
    try:
        text = path.read_bytes()
        data = yaml.safe_load(text)
        written = yaml.load(text, Loader=yaml.BaseLoader)  # noqa: S506  # builds only text
    except yaml.MarkedYAMLError as exc:
        raise PluginManifestError(
            path=str(path), reason=f"invalid YAML{_line(exc)}: {exc.problem or exc.context}"
        ) from None  # its text quotes the file, which may hold a secret
    except (yaml.YAMLError, ValueError, RecursionError) as exc:
        first = str(exc).strip().partition("\n")[0]
        raise PluginManifestError(path=str(path), reason=f"invalid YAML: {first}") from None
    except OSError as exc:
        raise PluginManifestError(
            path=str(path), reason=f"it can't be read: {exc.strerror}"
        ) from exc
    return data, written if isinstance(written, dict) else {}


def _line(exc: yaml.MarkedYAMLError) -> str:
    mark = exc.problem_mark or exc.context_mark
    return f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""


def _actions(reader: _Reader) -> dict[str, PluginAction]:
    actions = reader.get("actions", dict, "a mapping of action names") or {}
    return {str(name): _action(reader, str(name), given) for name, given in actions.items()}


def _action(reader: _Reader, name: str, given: Any) -> PluginAction:
    key = f"actions.{name}"
    if not isinstance(given, dict):
        raise reader.error(f"{key} is {_short(given)}, not a mapping", _ENTRYPOINT_HINT.format(key))
    if given.get("entrypoint") in (None, ""):
        raise reader.error(f"{key}.entrypoint is missing", _ENTRYPOINT_HINT.format(key))
    description = given.get("description") or ""
    if not isinstance(description, str):
        raise reader.error(f"{key}.description is {_short(description)}, not a string")
    return PluginAction(
        name=name,
        entrypoint=parse_entrypoint(
            given["entrypoint"], path=str(reader.path), key=f"{key}.entrypoint"
        ),
        description=description,
        params_schema=_params_schema(reader, f"{key}.params", given.get("params")),
    )


_ENTRYPOINT_HINT = "Write {}.entrypoint: package.module:attribute."


def _params_schema(reader: _Reader, key: str, schema: Any) -> Mapping[str, Any] | None:
    if not isinstance(schema, dict):
        return None
    from jsonschema.exceptions import SchemaError
    from jsonschema.validators import Draft202012Validator, validator_for

    try:
        validator_for(schema, default=Draft202012Validator).check_schema(schema)
    except SchemaError as exc:
        where = ".".join([key, *map(str, exc.absolute_path)])
        raise reader.error(
            f"{where} is {_short(exc.instance)}, so {key} is not a valid JSON Schema: {exc.message[:200]}"
        ) from exc
    except (TypeError, ValueError) as exc:  # for example keys that are not strings
        raise reader.error(f"{key} is not a valid JSON Schema: {exc}") from exc
    return schema


def _env(reader: _Reader) -> dict[str, str]:
    env = reader.get("env", dict, "a mapping of names to values") or {}
    written = reader.written.get("env")
    raw = written if isinstance(written, dict) else {}
    plain = {}
    for name, value in env.items():
        if not is_name(name):
            raise reader.error(
                f"env.{name} is not a valid name for an environment variable",
                f"{NAME_RULE} If YAML reads it as another type, put it in quotes.",
            )
        if isinstance(value, (dict, list)):
            raise reader.error(f"env.{name} is {_kind(value)}, not a string or a number")
        plain[name] = scalar_text(value, raw.get(name))
    check_values(plain, path=str(reader.path))
    return plain


def _package_manager(reader: _Reader) -> str | None:
    given = reader.get("package_manager", str, "a string")
    if given is not None and given not in PACKAGE_MANAGERS:
        raise reader.error(f"package_manager is {given!r}, neither 'pip' nor 'uv'")
    return given if given is None else str(given)


def _package_manager_options(reader: _Reader) -> tuple[str, ...] | Mapping[str, Any]:
    key = "package_manager_options"
    given = reader.get(key, (list, dict), "a list or a mapping")
    if isinstance(given, dict):
        return given
    return _texts(reader, key, given)


def _texts(reader: _Reader, key: str, given: list[Any] | None) -> tuple[str, ...]:
    for index, text in enumerate(given or ()):
        if not isinstance(text, str):
            raise reader.error(f"{key}[{index}] is {_short(text)}, not a string")
    return tuple(given or ())


def _kind(value: object) -> str:
    return "a mapping" if isinstance(value, dict) else a_kind(value)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}…"
