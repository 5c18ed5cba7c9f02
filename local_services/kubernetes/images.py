"""The images of the rig: names for Python environments of this machine."""

from __future__ import annotations

import importlib.metadata
import json
import re
import sys
from collections.abc import Collection
from pathlib import Path

NOTHING = "busybox"
"""An image with this machine's own programs only."""


def own_image() -> str:
    """Return the name of the environment that this process runs from, as Ray's own images are called."""
    return f"rayproject/ray:{importlib.metadata.version('ray')}"


def images() -> dict[str, str]:
    """Return the images by name, each with what comes first on the PATH of its containers.

    Any other image fails as one that is not in its registry.
    """
    return {own_image(): str(_programs()), NOTHING: ""}


def check_image(image: str, known: Collection[str]) -> tuple[str, str] | None:
    """Return why there is no such image, as reason and message of a kubelet with containerd."""
    if not _REFERENCE.fullmatch(image):
        why = "invalid reference format"
        if _REFERENCE.fullmatch(image.lower()):
            why += f": repository name ({_repository(image)}) must be lowercase"
        said = f"couldn't parse image name {json.dumps(image)}: {why}"
        return "InvalidImageName", f"Failed to apply default image tag {json.dumps(image)}: {said}"
    if image in known:
        return None
    name = _full_name(image)
    return "ErrImagePull", (
        f'rpc error: code = NotFound desc = failed to pull and unpack image "{name}": '
        f'failed to resolve reference "{name}": {name}: not found'
    )


def _full_name(image: str) -> str:
    registry, slash, _ = image.partition("/")
    # Docker's rule: a first part in capitals is a host, too.
    is_host = registry == "localhost" or registry != registry.lower() or {*".:"} & {*registry}
    has_registry = slash and is_host
    name = image if has_registry else f"docker.io/{image if slash else f'library/{image}'}"
    is_tagged = ":" in name.rpartition("/")[2] or "@" in name
    return name if is_tagged else f"{name}:latest"


def _repository(image: str) -> str:
    name = image.partition("@")[0].rpartition(":")[0] or image
    return name if "/" in name else f"library/{name}"


def _programs() -> Path:
    # Not resolved: a virtual environment's python is a link to one that lacks its packages.
    return (Path.cwd() / sys.executable).parent


_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REFERENCE = re.compile(
    rf"(?:[a-zA-Z0-9.-]+(?::[0-9]+)?/)?{_PART}(?:/{_PART})*"
    r"(?::[\w][\w.-]{0,127})?(?:@[a-z0-9]+:[0-9a-f]{32,})?"
)
