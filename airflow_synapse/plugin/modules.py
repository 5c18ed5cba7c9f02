"""Finds a plugin's modules by name, and which of Python's own modules they hide. Pure."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator

_NEEDED_BY_RAY = """
argparse array ast asyncio base64 bisect bz2 collections concurrent contextlib copy copyreg ctypes
dataclasses datetime decimal dis email enum fnmatch functools gettext glob hashlib heapq hmac http
importlib inspect ipaddress json keyword linecache locale logging lzma math mimetypes multiprocessing
numbers opcode operator pathlib pickle platform pprint queue random re reprlib secrets select selectors
shlex shutil signal socket ssl string struct subprocess sysconfig tempfile textwrap threading token
tokenize traceback types typing urllib uuid warnings weakref zipfile zlib
"""
NEEDED_BY_RAY = frozenset(_NEEDED_BY_RAY.split())
"""If one of these is missing, no Ray process starts, on any version of Python."""

_HARMLESS = frozenset({"antigravity", "idlelib", "lib2to3", "test", "this", "turtledemo"})
"""Python's own, but imported by nobody."""


def module_files(entrypoint: str) -> tuple[str, ...]:
    """Return the paths that ``package.module:attribute`` may be imported from; the first wins."""
    path = entrypoint.partition(":")[0].replace(".", "/")
    return f"{path}/__init__.py", f"{path}.py"


def hidden_modules(files: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield files that hide one of Python's own modules when their folder comes first in ``sys.path``.

    :param files: POSIX paths relative to the folder.
    :returns: Pairs of a file and the module's name. A folder without ``__init__.py`` hides nothing.
    """
    for file in files:
        module = file.removesuffix("/__init__.py")
        if module == file:
            module = file.removesuffix(".py")
        if module == file or module not in sys.stdlib_module_names or module in _HARMLESS:
            continue
        if module not in sys.builtin_module_names:  # those come before any folder
            yield file, module
