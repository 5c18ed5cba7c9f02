"""Decides as git does which files the ignore files leave out. git itself is not needed.

pathspec judges a path together with the folders above it, which lets ``!*/`` re-admit every file.
git judges folder by folder, and never looks into a folder that it leaves out. So each
path is matched here by itself, from the top down.
"""

from __future__ import annotations

import os
import re
import string
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from airflow_synapse.exceptions import PluginManifestError

DEFAULT_EXCLUDES = (".git", ".venv", "venv", "__pycache__")
"""Never packed; Ray's own list."""

NEVER = "never uploaded"
IN_EXCLUDES = "in excludes"
"""Origins of patterns that come from no file."""

GIT_IGNORE = ".gitignore"
RAY_IGNORE = ".rayignore"

_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Pattern:
    """A line of an ignore file.

    :param text: As it is written.
    :param origin: Where it is written: a line of a file, or the name of an argument.
    :param glob: What a path, or a name alone, must match in full.
    :param is_for_names: Whether the name alone is matched, at every depth.
    """

    text: str
    origin: str
    glob: re.Pattern[bytes]
    readmits: bool = False
    is_for_folders: bool = False
    is_for_names: bool = False

    def __str__(self) -> str:
        return f"the pattern {self.text!r} ({self.origin})"

    @classmethod
    def of_line(cls, line: bytes, origin: str) -> Pattern | None:
        """Return a line's pattern; None for a comment or a pattern that can match nothing."""
        line = _without_spaces_at_end(line.removesuffix(b"\r"))
        if not line or line.startswith(b"#"):
            return None
        glob = line.removeprefix(b"!")
        is_for_folders = glob.endswith(b"/")
        glob = glob.removesuffix(b"/")
        expression = _expression(glob.removeprefix(b"/"))
        if expression is None:
            return None
        return cls(
            text=line.decode(errors="backslashreplace"),
            origin=origin,
            glob=re.compile(expression, re.DOTALL),
            readmits=line.startswith(b"!"),
            is_for_folders=is_for_folders,
            is_for_names=b"/" not in glob,
        )

    def matches(self, path: bytes, *, is_folder: bool) -> bool:
        """Return whether it matches this path, which is relative to the pattern's folder."""
        if self.is_for_folders and not is_folder:
            return False
        text = path.rpartition(b"/")[2] if self.is_for_names else path
        return self.glob.fullmatch(text) is not None


@dataclass(frozen=True)
class PatternList:
    """Patterns of one source. The last one that matches decides.

    :param base: The folder that they apply to, ending in a slash.
    """

    base: bytes
    patterns: tuple[Pattern, ...]

    @classmethod
    def of_lines(cls, folder: Path, lines: Iterable[bytes], origin: str) -> PatternList:
        """Return the patterns of these lines.

        :param origin: Where the lines come from, for messages; ``{}`` becomes the number of the line.
        """
        found = (
            Pattern.of_line(line, origin.format(number)) for number, line in enumerate(lines, 1)
        )
        return cls(as_bytes(folder), tuple(pattern for pattern in found if pattern))

    def verdict(self, path: bytes, *, is_folder: bool) -> Pattern | None:
        """Return the pattern that decides about an absolute path."""
        relative = path[len(self.base) :]
        for pattern in reversed(self.patterns):
            if pattern.matches(relative, is_folder=is_folder):
                return pattern
        return None


@dataclass(frozen=True)
class IgnoreRules:
    """The rules that apply in one folder.

    :param never: Patterns of what is never packed, whatever the files say.
    :param ray: Patterns of the ``.rayignore`` files, those of the deepest folder first.
    :param git: Patterns of git's files, in git's order.
    :param is_let_in: Whether a ``.rayignore`` re-admits a parent folder with everything in it.
    """

    never: PatternList
    ray: tuple[PatternList, ...] = ()
    git: tuple[PatternList, ...] = ()
    is_let_in: bool = False

    @classmethod
    def around(cls, root: Path, excludes: Iterable[str]) -> IgnoreRules:
        """Return the rules that a folder gets from the folders above it in its repository.

        :param root: The folder to pack, without links. Rules that leave out this folder itself
            do not count, because somebody wants it packed.
        :raises PluginManifestError: if an ignore file can't be read.
        """
        default = PatternList.of_lines(root, map(os.fsencode, DEFAULT_EXCLUDES), NEVER)
        given = PatternList.of_lines(root, map(os.fsencode, excludes), IN_EXCLUDES)
        rules = cls(replace(given, patterns=default.patterns + given.patterns))
        for folder in _folders_above(root):
            rules = replace(rules, git=_git_rules(folder, rules.git))
        return rules

    def inside(self, folder: Path) -> IgnoreRules:
        """Return the rules inside a folder that is not left out.

        :raises PluginManifestError: if an ignore file can't be read.
        """
        verdict = _first(self.ray, as_bytes(folder)[:-1], is_folder=True)
        return replace(
            self,
            ray=(*_patterns_of(folder / RAY_IGNORE, folder), *self.ray),
            git=_git_rules(folder, self.git),
            is_let_in=self.is_let_in or (verdict is not None and verdict.readmits),
        )

    def leaving_out(self, path: bytes, *, is_folder: bool) -> Pattern | None:
        """Return the pattern that leaves out this absolute path, if one does."""
        verdict = self.never.verdict(path, is_folder=is_folder)
        if verdict is None or verdict.readmits:
            verdict = _first(self.ray, path, is_folder=is_folder)
        if verdict is None and not self.is_let_in:
            verdict = _first(self.git, path, is_folder=is_folder)
        return None if verdict is None or verdict.readmits else verdict


def as_bytes(folder: Path) -> bytes:
    """Return a folder's path as the patterns see it: git compares bytes."""
    return os.fsencode(folder).rstrip(b"/") + b"/"


def _first(lists: Iterable[PatternList], path: bytes, *, is_folder: bool) -> Pattern | None:
    verdicts = (patterns.verdict(path, is_folder=is_folder) for patterns in lists)
    return next((verdict for verdict in verdicts if verdict is not None), None)


def _folders_above(root: Path) -> list[Path]:
    """Return the repository's folders above ``root``, the outermost first."""
    above: list[Path] = []
    for folder in (root, *root.parents):
        if _is_repository(folder):
            return above[::-1] if folder == root else [folder, *above[::-1]]
        if folder != root:
            above.append(folder)
    return []


def _git_rules(folder: Path, around: tuple[PatternList, ...]) -> tuple[PatternList, ...]:
    if _is_repository(folder):  # git looks at no repository around this one
        around = tuple(_patterns_of(_shared_git_folder(folder) / "info" / "exclude", folder))
    file = folder / GIT_IGNORE
    return around if file.is_symlink() else (*_patterns_of(file, folder), *around)


def _is_repository(folder: Path) -> bool:
    git = folder / ".git"  # a file in worktrees and submodules
    return git.is_file() or os.path.lexists(git / "HEAD")


def _shared_git_folder(folder: Path) -> Path:
    """Return where the repository keeps what all its worktrees share."""
    git = folder / ".git"
    if git.is_file():
        git = folder / _first_line(git).removeprefix("gitdir:").strip()
    return git / (_first_line(git / "commondir") or ".")


def _first_line(file: Path) -> str:
    try:
        with file.open(encoding="utf-8", errors="surrogateescape") as lines:
            return lines.readline().strip()
    except OSError:  # a worktree whose repository is elsewhere, as in an image
        return ""


def _patterns_of(file: Path, folder: Path) -> Iterator[PatternList]:
    if not file.is_file():
        return
    try:
        lines = file.read_bytes().removeprefix(_BOM).split(b"\n")
    except OSError as exc:
        raise PluginManifestError(
            path=str(file), reason=f"the ignore file can't be read: {exc.strerror}"
        ) from exc
    place = str(file).replace("{", "{{").replace("}", "}}")
    yield PatternList.of_lines(folder, lines, f"line {{}} of {place}")


def _without_spaces_at_end(line: bytes) -> bytes:
    kept = re.match(rb"(?:\\.|\\$|[^\\ ]| +(?=[^ ]))*", line, re.DOTALL)
    return kept[0] if kept else line


# --- git's globs as regular expressions ---

_STARS = re.compile(rb"\*+")
_SET_ITEM = re.compile(
    rb"\[:(?P<kind>[^\]]*):\]"
    rb"|(?P<low>\\.|[^\\])-(?P<high>\\.|[^\\\]])"
    rb"|(?P<one>\\.|[^\\])",
    re.DOTALL,
)
_ASCII = bytes(range(128)).decode()
_KINDS = {
    b"alnum": string.ascii_letters + string.digits,
    b"alpha": string.ascii_letters,
    b"blank": " \t",
    b"cntrl": "".join(char for char in _ASCII if ord(char) < 32 or ord(char) == 127),
    b"digit": string.digits,
    b"graph": string.ascii_letters + string.digits + string.punctuation,
    b"lower": string.ascii_lowercase,
    b"print": string.ascii_letters + string.digits + string.punctuation + " ",
    b"punct": string.punctuation,
    b"space": string.whitespace,
    b"upper": string.ascii_uppercase,
    b"xdigit": string.hexdigits,
}


def _expression(glob: bytes) -> bytes | None:
    """Return the regular expression of a glob; None if it can match nothing."""
    parts: list[bytes] = []
    at = 0
    while at < len(glob):
        found = _part(glob, at)
        if found is None:
            return None
        part, at = found
        parts.append(part)
    return b"".join(parts)


def _part(glob: bytes, at: int) -> tuple[bytes, int] | None:
    """Return the expression of the part that begins here, and where the next part begins."""
    char = glob[at : at + 1]
    if char == b"*":
        return _stars(glob, at)
    if char == b"?":
        return b"[^/]", at + 1
    if char == b"[":
        return _set(glob, at + 1)
    if char == b"\\":
        escaped = glob[at + 1 : at + 2]
        return (re.escape(escaped), at + 2) if escaped else None
    return re.escape(char), at + 1


def _stars(glob: bytes, at: int) -> tuple[bytes, int]:
    stars = _STARS.match(glob, at)
    end = stars.end() if stars else at
    before, after = glob[:at], glob[end:]
    # git first strips the text before the first wildcard, so it sees these stars at the start.
    opens = before.endswith(b"/") or not re.search(rb"[*?\[\\]", before)
    if end - at < 2 or not opens or not (not after or after.startswith((b"/", b"\\/"))):
        return b"[^/]*", end
    return (b"(?:.*/)?", end + 1) if after.startswith(b"/") else (b".*", end)


def _set(glob: bytes, at: int) -> tuple[bytes, int] | None:
    is_negated = glob[at : at + 1] in (b"!", b"^")
    first = at = at + is_negated
    members: set[int] = set()
    while at == first or glob[at : at + 1] != b"]":
        item = _SET_ITEM.match(glob, at)
        found = _members(item) if item else None
        if item is None or found is None:
            return None
        members |= found
        at = item.end()
    if is_negated:
        members = set(range(256)) - members
    members.discard(ord("/"))
    listed = b"".join(b"\\x%02x" % member for member in sorted(members))
    return (b"[%s]" % listed if listed else b"(?!)"), at + 1


def _members(item: re.Match[bytes]) -> set[int] | None:
    if item["kind"] is not None:
        kind = _KINDS.get(item["kind"])
        return None if kind is None else set(kind.encode())
    if item["low"] is not None:
        return set(range(item["low"][-1], item["high"][-1] + 1))
    return {item["one"][-1]}
