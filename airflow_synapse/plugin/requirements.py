"""Turns a requirements file into the lines that Ray passes to pip or uv on the cluster.

Ray writes the lines to a file of its own and installs from that in an empty folder. So paths of
plugin files are rewritten to where Ray unpacks the plugin folder, and paths outside that folder are
rejected.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from packaging.markers import InvalidMarker, Marker
from packaging.requirements import InvalidRequirement, Requirement

from airflow_synapse.exceptions import PluginRequirementsError
from airflow_synapse.plugin.requirement_lines import (
    BadLineError,
    Line,
    join_lines,
    parse_options,
    quoted,
    read_text,
    render_option,
    split_options,
    without_credentials,
)
from airflow_synapse.plugin.uploaded_paths import (
    WORKING_DIR,
    uploaded_path,
    uploaded_paths,
    uploaded_url,
)

_ARCHIVES = (".whl", ".zip", ".tar.gz", ".tgz", ".tar", ".tar.bz2", ".tbz", ".tar.xz", ".txz")
_URL = re.compile(r"((git|hg|svn|bzr)\+[a-z]+|https?|ftp|file):", re.IGNORECASE)
_VCS_URL = re.compile(r"(git|hg|svn|bzr)\+[a-z]+:", re.IGNORECASE)
_VARIABLE = re.compile(r"\$\{[A-Z0-9_]+\}")


def read_requirements(path: Path | str, *, plugin_root: Path | str | None) -> tuple[str, ...]:
    """Return the lines of a requirements file that pip would act on.

    :param path: The file.
    :param plugin_root: The plugin folder, which the file's paths may point into, or None.
    :raises PluginRequirementsError: if pip can't use a line, or if a line names a file that is not
        part of the plugin. The error names the file, line and reason.
    """
    root = Path(plugin_root).absolute() if plugin_root is not None else None
    return tuple(dict.fromkeys(_File(Path(path), root, ()).lines()))


@dataclass(frozen=True)
class _File:
    path: Path
    root: Path | None
    comes_from: tuple[str, ...]

    def lines(self) -> Iterator[str]:
        for line in join_lines(read_text(self.path)):
            try:
                yield from self._line(line)
            except BadLineError as exc:
                raise PluginRequirementsError(
                    path=f"{self.path}:{line.number}",
                    reason=f"{without_credentials(line.text)!r}: {exc.reason}",
                    hint=exc.hint,
                ) from None  # the cause may show credentials

    def _line(self, line: Line) -> Iterator[str]:
        requirement, options = split_options(line.text)
        given = parse_options(options, of_requirement=bool(requirement))
        if requirement:
            yield " ".join([self._requirement(requirement), *map(quoted, options)])
            return
        for name, value in given:
            yield from self._option(name, value)

    def _option(self, name: str, value: str) -> Iterator[str]:
        if name == "--requirement" and not _is_elsewhere(value):
            yield from self._nested(value).lines()
        elif name == "--constraint" and not _is_elsewhere(value):
            yield render_option(name, uploaded_path(self._uploaded(self._beside(value))))
        elif name == "--editable":
            yield self._editable(value)
        elif name == "--find-links" and not _is_elsewhere(value):
            is_of_cluster = _local_path(value).is_absolute() and not self._inside(Path(value))
            yield render_option(
                name, value if is_of_cluster else uploaded_path(self._uploaded(self._beside(value)))
            )
        else:
            yield render_option(name, value)

    def _editable(self, value: str) -> str:
        if _VCS_URL.match(value):
            return render_option("--editable", value)
        if value.startswith("${"):
            return self._requirement(value)
        target, marker = _split_marker(value)
        if _is_elsewhere(target) or not self._found(_split_extras(target)[0]).is_dir():
            raise BadLineError(
                "only a folder with a project, or a URL such as git+https://…, can be editable"
            )
        # Installed as it is uploaded: an editable install would outlive the folder it is in.
        return self._local_requirement(target) + marker

    def _nested(self, name: str) -> _File:
        path = self._beside(name)
        around = (*self.comes_from, os.path.realpath(self.path))  # resolve() raises on a loop
        if os.path.realpath(path) in around:
            raise BadLineError("the file includes itself")
        return _File(path, self.root, around)

    def _beside(self, name: str) -> Path:
        path = _local_path(name)
        return path if path.is_absolute() else self.path.parent / path

    def _requirement(self, text: str) -> str:
        if text.startswith("${") and _VARIABLE.match(text):
            return text  # known only on the cluster
        if _URL.match(text) and not text.lower().startswith("file:"):
            return _checked_url(text)
        target, marker = _split_marker(text)
        if _looks_like_path(target):
            return self._local_requirement(target) + marker
        return self._named_requirement(text)

    def _local_requirement(self, target: str) -> str:
        name, extras = _split_extras(target)
        path = self._found(name)
        if path.is_dir() and not any((path / f).is_file() for f in ("pyproject.toml", "setup.py")):
            raise BadLineError(
                f"{path} can't be installed: it has neither pyproject.toml nor setup.py"
            )
        inside = self._uploaded(path)
        if extras and inside != ".":  # pip wants a path for them
            return f"{WORKING_DIR}/{inside}{extras}"
        return uploaded_path(inside) + extras

    def _found(self, name: str) -> Path:
        path = _local_path(name)
        if path.is_absolute():
            return path
        candidates = [self.root / path] if self.root else []
        candidates.append(self.path.parent / path)
        return next((c for c in candidates if c.exists()), candidates[0])

    def _named_requirement(self, text: str) -> str:
        try:
            requirement = Requirement(_VARIABLE.sub("0", text))
        except InvalidRequirement as exc:
            raise BadLineError(_first_line(exc)) from exc
        url = requirement.url or ""
        if not url.lower().startswith("file:"):
            return text
        uploaded = uploaded_url(self._uploaded(_local_path(url)))
        marker = f" ; {requirement.marker}" if requirement.marker else ""
        extras = f"[{','.join(sorted(requirement.extras))}]" if requirement.extras else ""
        return f"{requirement.name}{extras} @ {uploaded}{marker}"

    def _uploaded(self, path: Path) -> str:
        if not path.exists():
            raise BadLineError(f"{path} does not exist")
        inside = self._inside(path)
        if inside is None:
            raise BadLineError(
                f"{path} is not inside the plugin folder",
                "Only the plugin folder is uploaded: put the file into it.",
            )
        return inside

    def _inside(self, path: Path) -> str | None:
        # The path as written comes first, because packing follows links inside the folder.
        for place in (Path(os.path.abspath(path)), path.resolve()):  # noqa: PTH100  # links stay
            for root in (self.root, self.root.resolve()) if self.root else ():
                if place.is_relative_to(root):
                    return place.relative_to(root).as_posix()
        return None


def check_lines(lines: Sequence[str], *, manager: str) -> None:
    """Check that lines from all sources can be installed together on a cluster.

    :param manager: pip, which needs a hash for all of them or for none, or uv, which checks the
        hashes that exist.
    :raises PluginRequirementsError: naming the lines that it would refuse.
    """
    for line in lines:
        if path := _relative_path(line):
            raise PluginRequirementsError(
                path="requirements",
                reason=f"{path!r} is a path on this machine, which the cluster can't read",
                hint="Name it in a requirements file of the plugin, where paths are rewritten for the cluster.",
            )
    _check_hashes(lines, manager)


def _relative_path(line: str) -> str:
    """Return the relative path that a line names; files of the plugin have been rewritten."""
    try:
        requirement, options = split_options(line.strip())
        given = parse_options(options, of_requirement=bool(requirement))
        values = [value for name, value in given if name in _PATH_OPTIONS and not requirement]
        target, _ = _split_marker(requirement)
    except BadLineError:  # pip reports it
        return ""
    if _looks_like_path(target):
        values.append(target)
    return next((v for v in values if not (_URL.match(v) or v.startswith(("/", "${")))), "")


_PATH_OPTIONS = ("--requirement", "--constraint", "--find-links", "--editable")


def want_hashes(lines: Sequence[str], *, manager: str) -> bool:
    """Return whether each line needs a hash: if one asks for it, and for pip if one has some."""
    if any(line.startswith("--require-hashes") for line in lines):
        return True
    return manager == "pip" and any(_HASH.search(line) for line in lines)


def _check_hashes(lines: Sequence[str], manager: str) -> None:
    if not want_hashes(lines, manager=manager):
        return
    requirements = [
        line
        for line in lines
        if not line.lstrip().startswith(("-", "#")) or line.startswith("--editable")
    ]
    bare = [line for line in requirements if not _HASH.search(line)]
    loose = [line for line in requirements if _HASH.search(line) and not _is_pinned(line)]
    if not bare and not loose:
        return
    problem = "have no hash" if bare else "are not pinned with =="
    named = ", ".join(_shown(line) for line in (bare or loose)[:5])
    raise PluginRequirementsError(
        path="requirements",
        reason=f"some lines have hashes or ask for them, so {manager} refuses those that {problem}: "
        f"{named}",
        hint="Leave the hashes out (uv export --no-hashes), or pin and hash every line."
        + (
            ""
            if manager == "uv"
            else " With package_manager uv, lines with and without hashes can be mixed."
        ),
    )


_HASH = re.compile(r"\s--hash[=\s]")


def _is_pinned(line: str) -> bool:
    try:
        requirement = Requirement(split_options(line)[0])
    except (InvalidRequirement, BadLineError):  # a path or a URL
        return True
    operators = [specifier.operator for specifier in requirement.specifier]
    return requirement.url is not None or operators in (["=="], ["==="])


def _shown(line: str) -> str:
    paths = [path or "the plugin itself" for path in uploaded_paths(line)]
    requirement = line if line.startswith("-") else split_options(line)[0]
    return paths[0] if paths else without_credentials(requirement)


def _is_elsewhere(value: str) -> bool:
    # A URL, or a path that only the cluster can resolve.
    is_url = _URL.match(value) is not None and not value.lower().startswith("file:")
    return is_url or _VARIABLE.search(value) is not None


def _local_path(text: str) -> Path:
    return Path(unquote(urlsplit(text).path) if text.lower().startswith("file:") else text)


def _looks_like_path(target: str) -> bool:
    name = _split_extras(target)[0]
    if "@" in name.partition("/")[0]:  # name @ url
        return False
    return "/" in name or name.startswith(".") or name.lower().endswith(_ARCHIVES)


def _split_extras(target: str) -> tuple[str, str]:
    match = re.fullmatch(r"(.+?)(\[[^\]]*\])?", target.strip())
    return (match[1], match[2] or "") if match else (target, "")


def _split_marker(text: str) -> tuple[str, str]:
    target, semicolon, marker = text.partition(";")
    if semicolon:
        _check_marker(marker)
    return target.strip(), f" ; {marker.strip()}" if semicolon else ""


def _checked_url(text: str) -> str:
    _, semicolon, marker = text.partition("; ")
    if semicolon:
        _check_marker(marker)
    return text


def _check_marker(marker: str) -> None:
    try:
        Marker(marker.strip())
    except InvalidMarker as exc:
        raise BadLineError(_first_line(exc)) from exc


def _first_line(exc: Exception) -> str:
    return str(exc).strip().partition("\n")[0]
