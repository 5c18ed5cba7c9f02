"""Turns a plugin's wheels into requirement lines for its jobs."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from packaging.utils import InvalidWheelFilename, parse_wheel_filename

from airflow_synapse.exceptions import PluginManifestError
from airflow_synapse.plugin.manifest import DEFAULT_WHEELS_DIR
from airflow_synapse.plugin.uploaded_paths import uploaded_path

_CHUNK = 1024 * 1024


def find_wheels(folder: Path, wheels_dir: str = DEFAULT_WHEELS_DIR) -> tuple[str, ...]:
    """Return the wheels of a plugin folder as sorted POSIX paths relative to it.

    :raises PluginManifestError: if the wheels folder is not inside the plugin folder, was named
        but does not exist, or holds a wheel whose name pip rejects.
    """
    root = folder.absolute()
    wheels = Path(os.path.normpath(root / wheels_dir))  # links inside are followed when packed
    if not wheels.is_relative_to(root):
        raise PluginManifestError(
            path=str(folder),
            reason=f"wheels_dir {wheels_dir!r} is not inside the plugin folder",
            hint="Only the plugin folder is uploaded: put the wheels into it.",
        )
    if not wheels.is_dir():
        if wheels_dir == DEFAULT_WHEELS_DIR:
            return ()
        raise PluginManifestError(
            path=str(folder),
            reason=f"wheels_dir {wheels_dir!r} is not a folder inside the plugin folder",
        )
    found = sorted(path for path in wheels.iterdir() if path.suffix == ".whl" and path.is_file())
    for wheel in found:
        name_and_version(wheel)
    return tuple(wheel.relative_to(root).as_posix() for wheel in found)


def wheel_lines(wheels: Iterable[str], *, hashed_in: Path | None = None) -> tuple[str, ...]:
    """Return the requirement lines that install these wheels from the uploaded folder.

    A distribution with one wheel is named by its path. If it has several wheels (for other Pythons or
    platforms), pip chooses, because naming an incompatible wheel would be an error.

    :param hashed_in: The plugin folder, if each line needs the hashes of its wheels.
    :raises PluginManifestError: if a wheel that needs a hash can't be read.
    """
    by_name: dict[str, list[Path]] = defaultdict(list)
    for wheel in wheels:
        by_name[name_and_version(Path(wheel))[0]].append(Path(wheel))
    lines: list[str] = []
    for name, paths in sorted(by_name.items()):
        hashes = "".join(f" --hash=sha256:{_sha256(hashed_in / p)}" for p in paths if hashed_in)
        if len(paths) == 1:
            lines.append(uploaded_path(paths[0].as_posix()) + hashes)
            continue
        versions = {name_and_version(path)[1] for path in paths}
        lines.append(f"--find-links {uploaded_path(paths[0].parent.as_posix())}")
        lines.append((f"{name}=={versions.pop()}" if len(versions) == 1 else name) + hashes)
    return tuple(dict.fromkeys(lines))


def _sha256(wheel: Path) -> str:
    digest = hashlib.sha256()
    try:
        with wheel.open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    except OSError as exc:
        raise PluginManifestError(
            path=str(wheel), reason=f"it can't be read: {exc.strerror}"
        ) from exc
    return digest.hexdigest()


def name_and_version(wheel: Path) -> tuple[str, str]:
    """Return the normalized name and the version that a wheel's file name gives; refuse any other name."""
    try:
        name, version, _, _ = parse_wheel_filename(wheel.name)
    except InvalidWheelFilename as exc:
        raise PluginManifestError(
            path=str(wheel),
            reason="this is not a valid wheel name",
            hint="Name it name-version-python-abi-platform.whl; pip rejects any other form.",
        ) from exc
    return str(name), str(version)
