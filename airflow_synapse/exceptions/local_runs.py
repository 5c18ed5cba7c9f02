"""Errors about a job that ran in a process of this machine."""

from __future__ import annotations

from airflow_synapse.exceptions.jobs import LAST_LINES, RayJobEntrypointError
from airflow_synapse.plurals import counted


class LocalRunFailedError(RayJobEntrypointError):
    """The action or command failed in a process of this machine.

    :param name: What ran.
    :param exit_code: Its exit code; negative if a signal ended it.
    :param log: Its whole output.
    :param requirements: How many requirements a cluster would have installed.
    """

    def __init__(self, *, name: str, exit_code: int, log: str, requirements: int = 0) -> None:
        super().__init__(status="FAILED", exit_code=exit_code, last_lines=log.splitlines())
        self.name = name
        self.log = log
        self.requirements = requirements
        self._facts = {
            "name": name,
            "exit_code": exit_code,
            "log": log,
            "requirements": requirements,
        }

    def sentence(self) -> str:
        text = self.verdict()
        if not self.last_lines:
            return text
        what = "Its output" if len(self.log.splitlines()) <= LAST_LINES else "The end of its output"
        return f"{text}\n{what}:\n" + "\n".join(f"    {line}" for line in self.last_lines)

    def verdict(self) -> str:
        text = f"{self.name} failed on this machine with exit code {self.exit_code}."
        if "ModuleNotFoundError" in self.log and self.requirements:
            text += (
                f" Its {counted(self.requirements, 'requirement')} would be installed on a cluster, but not "
                "here: install them into the environment that you run this in."
            )
        return text
