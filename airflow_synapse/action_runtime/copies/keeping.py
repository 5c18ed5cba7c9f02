"""Has what a job leaves copied to where it outlives the job's node.

Ray serves a job's files from the node that its driver ran on, and that node may leave with them. The
head node stays. So short texts go into the job's metadata, and files into the head's log folder. A
process of its own does that, because the action may have left this one in any state.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

# Imported by name, as an action may replace the module's functions (gevent, for one).
from subprocess import DEVNULL, PIPE, TimeoutExpired, run
from typing import NamedTuple, Optional

from ..log_folder import JobPlace
from ..ray_job import JOB_CONFIG

LONGEST_TEXT = 1024
"""Bytes of a text that may go into the metadata, which come with every look at the job's status."""

PATIENCE = 60.0
"""Seconds after which a copy is given up."""

_OWN_PACKAGE = Path(__file__).parent.parent
_PROCESS = f"{_OWN_PACKAGE.name}.copies.process"
_UNPACKED_BY_RAY = "/runtime_resources/"
"""A part of all paths of folders that a runtime_env brought: the plugin's modules may have any name."""


class HeadNode(NamedTuple):
    """Another node, which is the head of the job's cluster.

    :param address: The address of its global control service.
    :param environ: The environment for a process that connects to it.
    """

    address: str
    environ: Mapping[str, str]

    def keep(
        self,
        place: JobPlace,
        *,
        texts: Optional[Mapping[str, str]] = None,
        files: Sequence[Path] = (),
    ) -> list[str]:
        """Copy texts into the job's metadata and files into the head's log folder.

        :param texts: Short texts by the key of the metadata.
        :param files: Files of this node's log folder. Their copies have the same names.
        :return: The warnings to log. Raises nothing, because the job's work is done.
        """
        order = {
            "address": self.address,
            "job_id": place.job_id,
            "mode": place.mode,
            "texts": dict(texts or {}),
            "files": [str(file) for file in files],
        }
        try:
            problem = _run(json.dumps(order), self.environ)
        except Exception as exc:  # noqa: BLE001  # the action may have broken anything
            problem = f"{type(exc).__name__}: {exc}"
        if problem is None:
            return []
        names = ", ".join([*(texts or ()), *(file.name for file in files)])
        return [
            f"if this node leaves, these are lost, as they could not be copied: {names} ({problem})"
        ]


def find_head(environ: Mapping[str, str]) -> Optional[HeadNode]:
    """Return the head node; None if this is it, or if the job's cluster is not known.

    Call it before user code can change the environment.
    """
    address = environ.get("RAY_ADDRESS", "")
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or _is_of_this_node(host.strip("[]")):
        return None
    # In a process with this variable, Ray would install the job's environment on the head.
    environ = {name: value for name, value in environ.items() if name != JOB_CONFIG}
    path = environ.get("PYTHONPATH", "").split(os.pathsep)
    kept = [part for part in path if part and _UNPACKED_BY_RAY not in f"{part}/"]
    environ["PYTHONPATH"] = os.pathsep.join(kept)
    return HeadNode(address, environ)


def _is_of_this_node(host: str) -> bool:
    """Whether the address belongs to this machine: nobody can listen at the address of another."""
    try:
        found = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)
    except OSError:
        return False
    for family, kind, protocol, _, address in found:
        with suppress(OSError), socket.socket(family, kind, protocol) as listener:
            listener.bind(address)
            return True
    return False


def _run(order: str, environ: Mapping[str, str]) -> Optional[str]:
    """Run the process and return what went wrong, if anything did."""
    try:
        done = run(
            [sys.executable, "-m", _PROCESS],
            cwd=_OWN_PACKAGE.parent,
            env=dict(environ),
            input=order.encode(),
            stdout=DEVNULL,
            stderr=PIPE,
            timeout=PATIENCE,
            check=False,
        )
    except TimeoutExpired:
        return f"it took longer than {PATIENCE:g} s"
    if done.returncode == 0:
        return None
    lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
    return lines[-1][:500] if lines else f"exit code {done.returncode}"
