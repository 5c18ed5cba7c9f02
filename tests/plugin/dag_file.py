"""Files with functions, and these functions as the job has them."""

from __future__ import annotations

import importlib.util
import textwrap
from pathlib import Path
from typing import Any

from airflow_synapse.plugin.function import FunctionSource


class DagFile:
    """A file of its own, with the future import only if it says so."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def function(self, text: str, name: str = "work") -> Any:
        """Write the file, import it, and return one of its functions."""
        self.path.write_text(textwrap.dedent(text).lstrip("\n"))
        spec = importlib.util.spec_from_file_location("dag_file", self.path)
        assert spec
        assert spec.loader
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return getattr(module, name)

    def line_of(self, text: str) -> int:
        """Return the number of the only line that has a text."""
        lines = self.path.read_text().splitlines()
        (number,) = (number for number, line in enumerate(lines, 1) if text in line)
        return number


def load(function: FunctionSource) -> Any:
    """Run the module as the job does, and return the function."""
    module: dict[str, Any] = {"__name__": function.module}
    exec(compile(function.source, "job.py", "exec", dont_inherit=True), module)
    return module[function.name]
