"""Reads what Ray puts into a driver's environment about its job."""

from __future__ import annotations

import json
import os
from collections.abc import MutableMapping
from pathlib import Path, PurePosixPath
from typing import Any, Optional

JOB_CONFIG = "RAY_JOB_CONFIG_JSON_ENV_VAR"

_OWN_PACKAGE = Path(__file__).parent.parent.name
"""Ray unpacks ``gcs://_ray_pkg_<hash>.zip`` into a folder with that name, without its suffix."""


def submission_id() -> Optional[str]:
    """Return the job's submission ID; None if this does not look like a Ray job."""
    metadata = _job_config(os.environ).get("metadata")
    job_id = metadata.get("job_submission_id") if isinstance(metadata, dict) else None
    return job_id if isinstance(job_id, str) and "/" not in job_id else None


def leave_own_package_out(environ: MutableMapping[str, str]) -> None:
    """Let ``ray.init`` find the job's runtime_env as if the action were a script.

    The package of this runtime is among its ``py_modules``, and Ray would refuse an action's
    runtime_env that has ``py_modules``, too. The action's tasks do not need the package.
    """
    config = _job_config(environ)
    runtime_env = config.get("runtime_env")
    modules = runtime_env.get("py_modules") if isinstance(runtime_env, dict) else None
    if not isinstance(runtime_env, dict) or not isinstance(modules, list):
        return
    runtime_env["py_modules"] = [uri for uri in modules if not _is_own(uri)]
    if not runtime_env["py_modules"]:
        del runtime_env["py_modules"]
    environ[JOB_CONFIG] = json.dumps(config)


def _is_own(uri: object) -> bool:
    return PurePosixPath(str(uri)).stem == _OWN_PACKAGE


def _job_config(environ: MutableMapping[str, str]) -> dict[str, Any]:
    try:
        config = json.loads(environ.get(JOB_CONFIG, "{}"))
    except ValueError:
        return {}
    return config if isinstance(config, dict) else {}
