"""``python -m ….copies.process``: the process that makes the copies. It reads its order from standard input."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

from ..log_folder import open_own
from .on_head import Shelf, modules_to_send

NODE_KEY = "airflow_synapse_copies_on"
"""Metadata: the node that has copies of the job's files."""

_JOB_KEY = "_ray_internal_job_info_{}"
_NAMESPACE = b"job"
_CHUNK = 8 * 1024 * 1024
_GCS_TIMEOUT = 20.0


def main(order: dict[str, Any]) -> None:
    """Copy what the order names."""
    texts = dict(order["texts"])
    if order["files"]:
        texts[NODE_KEY] = _copy_to_head(order["address"], order["files"], order["mode"])
    _note(order["address"], order["job_id"], texts)


def _note(address: str, job_id: str, texts: dict[str, str]) -> None:
    """Add texts to the metadata that Ray keeps of the job. It writes the job's end to the same place."""
    gcs = _gcs_client(address)
    key = _JOB_KEY.format(job_id).encode()
    info = json.loads(gcs.internal_kv_get(key, _NAMESPACE, timeout=_GCS_TIMEOUT))
    info["metadata"] = {**(info.get("metadata") or {}), **texts}
    value = json.dumps(info).encode()
    gcs.internal_kv_put(key, value, True, _NAMESPACE, timeout=_GCS_TIMEOUT)  # noqa: FBT003  # Ray's signature


def _gcs_client(address: str) -> Any:
    """Return Ray's client for what the cluster knows. Older versions have it elsewhere."""
    try:
        kind = importlib.import_module("ray._raylet").GcsClient
    except AttributeError:
        kind = importlib.import_module("ray._private.gcs_utils").GcsClient
    return kind(address=address)


def _copy_to_head(address: str, files: list[str], mode: int) -> str:
    """Copy files into the head's log folder and return the head's node ID."""
    ray: Any = importlib.import_module("ray")
    ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    for module in modules_to_send():
        sys.modules["ray.cloudpickle"].register_pickle_by_value(module)  # the head does not have it
    shelf = (
        ray.remote(Shelf)
        .options(num_cpus=0, resources={"node:__internal_head__": 0.001})
        .remote(mode)
    )
    for file in files:
        _send(ray, shelf, Path(file))
    return str(ray.get(shelf.node_id.remote()))


def _send(ray: Any, shelf: Any, file: Path) -> None:
    ray.get(shelf.begin.remote(file.name))
    with open_own(file) as source:
        while chunk := source.read(_CHUNK):
            ray.get(shelf.add.remote(chunk))
    ray.get(shelf.end.remote())


if __name__ == "__main__":
    main(json.load(sys.stdin))
