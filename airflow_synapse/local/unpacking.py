"""Unpacks what would be sent with a job, as Ray does on a node."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from airflow_synapse.exceptions import RayJobSubmissionError
from airflow_synapse.rayjobs.packing.local_code import is_uri
from airflow_synapse.rayjobs.packing.packages import Package
from airflow_synapse.rayjobs.packing.preparation import PreparedJob


@dataclass(frozen=True)
class UnpackedJob:
    """A job's files on this machine.

    :param working_dir: The folder that the job runs in.
    :param modules: What comes first in its ``sys.path``: folders, and wheels, which are not installed.
    """

    working_dir: Path
    modules: tuple[Path, ...]


def unpack(job: PreparedJob, folder: Path) -> UnpackedJob:
    """Unpack a job's packages.

    :param folder: An empty folder.
    :raises RayJobSubmissionError: if some of its code is not on this machine.
    """
    packages = {package.uri: package for package in job.packages}
    runtime_env = job.spec.runtime_env
    working_dir = folder / "working_dir"
    working_dir.mkdir()
    for package in _known(packages, [runtime_env.get("working_dir")]):
        _unzip(package, working_dir)
    modules = []
    for number, package in enumerate(_known(packages, runtime_env.get("py_modules") or [])):
        place = folder / f"module_{number}"
        modules.append(_wheel(package) or _unzip(package, place))
    return UnpackedJob(working_dir, tuple(modules))


def _known(packages: dict[str, Package], uris: list[str | None]) -> Iterator[Package]:
    for uri in uris:
        if uri in packages:
            yield packages[uri]
        elif uri and is_uri(uri):
            raise RayJobSubmissionError(
                reason=f"needs {uri}, which only a cluster reads",
                hint="Give a folder or a file of this machine to run it here.",
            )


def _wheel(package: Package) -> Path | None:
    source = package.ready.source if package.ready else None
    return source if isinstance(source, Path) and source.suffix == ".whl" else None


def _unzip(package: Package, folder: Path) -> Path:
    with package.zipped() as path, zipfile.ZipFile(path) as archive:
        archive.extractall(folder)
    return folder
