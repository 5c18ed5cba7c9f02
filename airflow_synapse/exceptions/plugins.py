"""Errors about the code that a user wants to run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from airflow_synapse.exceptions.base import AirflowSynapseError


class PluginManifestError(AirflowSynapseError):
    """A plugin folder can't be used as it is.

    :param path: The file or folder.
    :param reason: What is wrong with it, with the key and the value if there are any.
    :param hint: What to do next, as a sentence.
    """

    def __init__(self, *, path: str, reason: str, hint: str = "") -> None:
        super().__init__(path=path, reason=reason, hint=hint)

    path: str
    reason: str
    hint: str

    def sentence(self) -> str:
        text = f"{self.path}: {self.reason}."
        return f"{text} {self.hint}" if self.hint else text


class PluginRequirementsError(PluginManifestError):
    """A line of a plugin's requirements can't be used."""


class FunctionSourceError(AirflowSynapseError):
    """A Python function can't be sent to a cluster.

    :param function: Its name.
    :param reason: Why not, as a clause about it.
    """

    def __init__(self, *, function: str, reason: str) -> None:
        super().__init__(function=function, reason=reason)

    function: str
    reason: str

    def sentence(self) -> str:
        return (
            f"The function {self.function!r} {self.reason}. Only the function's own source is sent: "
            "import what it needs inside it, pass values as arguments, or move the code into a plugin."
        )


class ActionNotFoundError(AirflowSynapseError):
    """The manifest has no action of this name.

    :param action_name: The name asked for.
    :param plugin: The plugin's name or folder.
    :param known: The names that it has.
    """

    def __init__(self, *, action_name: str, plugin: str, known: Iterable[str]) -> None:
        super().__init__(action_name=action_name, plugin=plugin, known=tuple(sorted(known)))

    action_name: str
    plugin: str
    known: tuple[str, ...]

    def sentence(self) -> str:
        known = ", ".join(self.known) if self.known else "none"
        return (
            f"Plugin {self.plugin} has no action {self.action_name!r}. Available actions: {known}. You can also give an "
            "entrypoint as package.module:attribute."
        )


class ActionParamsError(AirflowSynapseError):
    """An action's params can't be sent, or don't match its schema.

    :param problems: What is wrong, keyed by path, e.g. ``{"params.optim.lr": "is not a number"}``.
    :param action_name: The action they were meant for.
    """

    def __init__(self, *, problems: Mapping[str, str], action_name: str | None = None) -> None:
        super().__init__(problems=dict(problems), action_name=action_name)

    problems: dict[str, str]
    action_name: str | None

    def sentence(self) -> str:
        action = f" of action {self.action_name!r}" if self.action_name else ""
        told = "; ".join(f"{path} {problem}" for path, problem in self.problems.items())
        return f"The params{action} can't be used: {told}."
