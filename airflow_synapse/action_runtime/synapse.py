"""Actions of synapse-sdk, run by synapse-sdk's own entrypoint."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Optional

from .call import Call, RefusedCallError
from .reports.context import JobContext
from .reports.synapse_loggers import report_what_it_logs

SMALL_PARAMS = 32_000
"""Params of up to this many characters are passed in the environment, as synapse-sdk does."""


def is_synapse_action(target: Any) -> bool:
    """Return whether it is a subclass of synapse-sdk's BaseAction. Imports nothing."""
    base = getattr(sys.modules.get("synapse_sdk.plugins.action"), "BaseAction", None)
    return isinstance(target, type) and isinstance(base, type) and issubclass(target, base)


def run_synapse_action(action: Any, call: Call, job_id: Optional[str], job: JobContext) -> Any:
    """Run it as ``python -m synapse_sdk.plugins.entrypoint`` would, but without printing the result.

    :param job: Where what its logger is told is reported, too.
    """
    if "." in call.attribute:
        raise RefusedCallError(
            f"the entrypoint {call.entrypoint!r} names a class inside another, but synapse-sdk "
            "finds only actions at the top level of a module"
        )
    entrypoint: Any = importlib.import_module("synapse_sdk.plugins.entrypoint")
    if hasattr(entrypoint, "_output_result"):
        entrypoint._output_result = lambda _result: None  # noqa: SLF001  # our channel is a file
    _let_loggers_report(entrypoint, job)
    os.environ["SYNAPSE_ACTION_ENTRYPOINT"] = f"{call.module}.{call.attribute}"
    if job_id:
        os.environ["SYNAPSE_JOB_ID"] = job_id
    with _params_in_environment(json.dumps(call.params)):
        try:
            return entrypoint.main()
        except ValueError as exc:
            if _is_about_params(exc, action):
                raise RefusedCallError(
                    f"the params of action {call.action!r} don't fit {call.entrypoint}: {exc}"
                ) from exc
            raise


def _let_loggers_report(entrypoint: Any, job: JobContext) -> None:
    create: Any = getattr(entrypoint, "_create_logger", None)
    if create is not None:
        entrypoint._create_logger = lambda *args, **given: report_what_it_logs(  # noqa: SLF001  # it has no hook
            create(*args, **given), job
        )


@contextmanager
def _params_in_environment(params: str) -> Iterator[None]:
    if len(params) <= SMALL_PARAMS:
        os.environ["SYNAPSE_ACTION_PARAMS"] = params
        yield
        return
    os.environ.pop("SYNAPSE_ACTION_PARAMS", None)
    folder = tempfile.mkdtemp(prefix="synapse-params-")
    try:
        file = Path(folder, "params.json")
        file.write_text(params, encoding="ascii")
        os.environ["SYNAPSE_ACTION_PARAMS_FILE"] = str(file)
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)  # an error would cost the action's result


def _is_about_params(exc: ValueError, action: Any) -> bool:
    # pydantic's ValidationError, by its looks, naming the model that the params have to fit.
    model = getattr(action, "params_model", None)
    is_validation = type(exc).__name__ == "ValidationError" and hasattr(exc, "errors")
    return is_validation and getattr(exc, "title", None) == getattr(model, "__name__", "")
