"""How a person's own terminal becomes one of the running Airflow."""

from __future__ import annotations

import contextlib
import os
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path

from local_services.airflow_deployment import AirflowDeployment

_FORGET_OTHER_AIRFLOWS = """\
for name in $(env | sed -n 's/^\\(AIRFLOW[A-Za-z0-9_]*\\)=.*/\\1/p'); do unset "$name"; done
"""
"""A connection in the environment, for one, would come before the demo's own."""


@contextlib.contextmanager
def activate_script(airflow: AirflowDeployment, link: Path) -> Iterator[Path]:
    """Give the link to a script that a shell sources to use this Airflow; it is gone at the end.

    The script holds the deployment's secrets, so it lies in the deployment's own folder, which only
    this user can open and which is deleted with the deployment, whatever ends the demo.
    """
    script = airflow.home / "activate"
    script.write_text(activating(airflow.env))
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(script)
    try:
        yield link
    finally:
        # Another demo may have put its own there meanwhile.
        with contextlib.suppress(OSError):
            if link.readlink() == script:
                link.unlink()


def activating(env: Mapping[str, str]) -> str:
    """Return shell commands that set what an Airflow's components have and other programs do not."""
    programs, _, _ = env["PATH"].partition(os.pathsep)
    variables = {name: value for name, value in env.items() if name.startswith("AIRFLOW")}
    return "".join(
        [
            _FORGET_OTHER_AIRFLOWS,
            *(f"export {name}={shlex.quote(value)}\n" for name, value in variables.items()),
            f'export PATH={shlex.quote(programs)}:"$PATH"\n',
        ]
    )
