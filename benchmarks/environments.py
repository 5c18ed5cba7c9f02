"""The interpreters to measure with: this one, and one with the provider that people would use else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ASTRO = ("astro-provider-ray==0.4.0", "apache-airflow==3.3.2", "ray[default]==2.60.0")
OURS = Path(sys.executable)


def astro_python(folder: Path) -> Path:
    """Return the interpreter of an environment with astro-provider-ray; made if it is not there.

    :param folder: Where the environment is kept.
    """
    python = folder / "bin" / "python"
    if not (folder / "complete").exists():
        print("Installing", *ASTRO, flush=True)
        subprocess.run(
            ["uv", "venv", "--quiet", "--clear", "--python", sys.executable, folder], check=True
        )
        subprocess.run(["uv", "pip", "install", "--quiet", "--python", python, *ASTRO], check=True)
        (folder / "complete").touch()
    return python


def clean_environment(home: Path, **more: str) -> dict[str, str]:
    """Return an environment for a measured process, with an Airflow home of its own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
    return {
        **kept,
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR",
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        **more,
    }
