"""Errors about a job that ran in a process of this machine."""

from __future__ import annotations

from collections.abc import Sequence

from airflow_synapse.exceptions.jobs import LAST_LINES, RayJobEntrypointError


class LocalRunFailedError(RayJobEntrypointError):
    """The action or command failed in a process of this machine.

    :param name: What ran.
    :param exit_code: Its exit code; negative if a signal ended it.
    :param log: Its whole output.
    :param requirements: The requirements that a cluster would have installed.
    """

    def __init__(
        self, *, name: str, exit_code: int, log: str, requirements: Sequence[str] = ()
    ) -> None:
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
                " Its requirements would be installed on a cluster, but not here. Install them into the "
                f"environment that you run this in: {', '.join(self.requirements)}."
            )
        return text
