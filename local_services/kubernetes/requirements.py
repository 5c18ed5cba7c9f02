"""What this machine lacks for a Kubernetes of its own. Needs nothing but Python.

``python -m local_services.kubernetes.requirements`` prints it, one fact a line, and ends with 1
if there is any.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys

OLDEST_GO = (1, 26)

_TOOLS = {
    "ip": "iproute2",
    "unshare": "util-linux",
    "nsenter": "util-linux",
    "hostname": "hostname",
    "wget": "wget",  # in the probes that KubeRay gives to its pods
}


def missing() -> list[str]:
    """Return what is missing, each as half a sentence; empty if the rig can be started here."""
    if sys.platform != "linux":
        return ["it needs Linux, for namespaces"]
    lacks = [f"{tool} (package {of}) is missing" for tool, of in _TOOLS.items() if not _has(tool)]
    lacks += _missing_go()
    if os.geteuid() != 0:
        lacks.append("it needs root, to make network namespaces and a bridge")
    return lacks or _missing_rights()


def go_version() -> str:
    """Return what ``go env GOVERSION`` says, e.g. ``go1.26.8``; empty without Go."""
    if not _has("go"):
        return ""
    # Elsewhere, a go.mod nearby could ask for another toolchain.
    command = ["go", "env", "GOVERSION"]
    told = subprocess.run(command, cwd="/", capture_output=True, text=True, check=False)
    return told.stdout.strip()


def _missing_go() -> list[str]:
    wanted = ".".join(map(str, OLDEST_GO))
    version = go_version()
    found = re.match(r"go(\d+)\.(\d+)", version)
    if found is None:
        return [f"Go {wanted} or newer is missing"]
    if (int(found[1]), int(found[2])) < OLDEST_GO:
        return [f"it needs Go {wanted} or newer, and this is {version}"]
    return []


def _missing_rights() -> list[str]:
    """Root inside a container may lack the rights that namespaces take."""
    command = ["unshare", "--net", "--mount", "--uts", "--ipc", "--pid", "--fork", "true"]
    tried = subprocess.run(command, capture_output=True, text=True, check=False)
    return [f"no namespace can be made: {tried.stderr.strip()}"] if tried.returncode else []


def _has(tool: str) -> bool:
    return shutil.which(tool) is not None


if __name__ == "__main__":
    for fact in (facts := missing()):
        print(fact)
    sys.exit(bool(facts))
