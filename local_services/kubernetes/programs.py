"""The programs of the control plane and of KubeRay, built once and kept in the user's cache folder."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml
from filelock import FileLock

from local_services.kubernetes.requirements import go_version
from local_services.processes import Progress, ServiceError

KUBERNETES_VERSION = "v1.36.3"

_SOURCES = Path(__file__).parent / "sources"
_KUBERAY = "github.com/ray-project/kuberay/ray-operator"
_CRDS = "config/crd/bases"
_LAYOUT = 2
"""Counts what was changed here about the folders in the cache."""


@dataclass(frozen=True)
class Programs:
    """Paths of what was built, and of what KubeRay brings with it."""

    control_plane: Path
    kuberay_operator: Path
    crds: tuple[Path, ...]


def build_programs(on_progress: Progress) -> Programs:
    """Return the programs, after building those that no earlier run has left.

    The first build takes a quarter of an hour on two cores, and 2.3 GB of memory.

    :raises ServiceError: if Go can't build one; the message holds what it printed.
    """
    control_plane = _Build(
        "control_plane", package=".", linker_flags=("-s", "-w", *_version_flags())
    ).result(on_progress)
    operator = _Build("kuberay_operator", package=_KUBERAY, linker_flags=("-s", "-w")).result(
        on_progress
    )
    return Programs(
        control_plane=control_plane / "program",
        kuberay_operator=operator / "program",
        crds=tuple(sorted((operator / "crds").glob("*.json"))),
    )


def _version_flags() -> list[str]:
    # Without, the API server says v0.0.0 of itself, and clients stumble.
    major, minor, _ = KUBERNETES_VERSION.removeprefix("v").split(".")
    said = {"gitVersion": KUBERNETES_VERSION, "gitMajor": major, "gitMinor": minor}
    return [f"-X=k8s.io/component-base/version.{name}={value}" for name, value in said.items()]


class _Build:
    """One module of ours and the program that is built by it."""

    def __init__(self, module: str, *, package: str, linker_flags: Sequence[str]) -> None:
        self._name = module
        self._folder = _SOURCES / module
        self._package = package
        self._flags = ["-trimpath", "-buildvcs=false", f"-ldflags={' '.join(linker_flags)}"]

    def result(self, on_progress: Progress) -> Path:
        """Return the folder in the cache that holds the program."""
        kept = _cache_folder() / f"{self._name}-{self._fingerprint()}"
        with FileLock(f"{kept}.lock"):
            if not kept.is_dir():
                on_progress(f"building {self._name}, which takes minutes and happens once")
                self._build_into(kept)
        return kept

    def _build_into(self, kept: Path) -> None:
        growing = kept.with_name(f"{kept.name}.growing")
        shutil.rmtree(growing, ignore_errors=True)
        growing.mkdir()
        self._download()
        self._go("build", *self._flags, "-o", str(growing / "program"), self._package)
        if self._package != ".":
            module = Path(self._go("list", "-m", "-f", "{{.Dir}}", self._package).strip())
            _keep_crds(module / _CRDS, growing / "crds")
        growing.rename(kept)

    def _download(self) -> None:
        # The second time goes on where a lost connection ended the first.
        try:
            self._go("mod", "download")
        except ServiceError:
            self._go("mod", "download")

    def _go(self, *arguments: str) -> str:
        # Nobody at this machine should have to wait for a build.
        command = ["nice", "-n", "10", "go", *arguments]
        done = subprocess.run(
            command,
            cwd=self._folder,
            env={**os.environ, **_GO_SETTINGS},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise ServiceError(f"{self._name} can't be built:\n{done.stderr[-4000:]}")
        return done.stdout

    def _fingerprint(self) -> str:
        digest = hashlib.sha256()
        for path in sorted(self._folder.iterdir()):
            digest.update(path.name.encode() + path.read_bytes())
        digest.update(repr([_LAYOUT, self._flags, _GO_SETTINGS, go_version()]).encode())
        return digest.hexdigest()[:16]


_GO_SETTINGS = {"CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly", "GOTOOLCHAIN": "local"}
"""No C compiler is needed, nothing is changed in go.mod, and no other Go is fetched."""


def _keep_crds(source: Path, target: Path) -> None:
    """Keep them as JSON: to read them as YAML takes ten seconds at each start."""
    target.mkdir()
    for path in source.glob("*.yaml"):
        definition = yaml.load(path.read_text(), Loader=yaml.CSafeLoader)
        (target / f"{path.stem}.json").write_text(json.dumps(definition))


def _cache_folder() -> Path:
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = caches / "airflow-synapse" / "kubernetes"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


if __name__ == "__main__":
    print(build_programs(print))
