"""Leaves out of a function's arguments the one that the Ray job gives it: ``job``. Pure."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection, Mapping
from typing import Any

from airflow.sdk.definitions.context import KNOWN_CONTEXT_KEYS

from airflow_synapse.action_runtime.call import JOB_PARAMETER


def without_job(
    function: Callable[..., Any], args: Collection[Any], kwargs: Mapping[str, Any]
) -> Callable[..., Any]:
    """Return a function with the signature that a DAG has to fill: without ``job``, unless it fills that.

    Airflow and we only look at it; it must not be called.

    :param args: The positional arguments in the DAG.
    :param kwargs: The keyword arguments in the DAG.
    """
    signature = inspect.signature(function)
    job = signature.parameters.get(JOB_PARAMETER)
    if job is None or job.kind not in (job.POSITIONAL_OR_KEYWORD, job.KEYWORD_ONLY):
        return function
    if JOB_PARAMETER in kwargs or _is_filled(signature, args, kwargs):
        return function

    @functools.wraps(function)
    def asked(*_args: Any, **_kwargs: Any) -> None: ...

    del asked.__wrapped__  # else Airflow looks at that
    others = [each for name, each in signature.parameters.items() if name != JOB_PARAMETER]
    asked.__signature__ = signature.replace(parameters=others)  # type: ignore[attr-defined]
    return asked


def _is_filled(
    signature: inspect.Signature, args: Collection[Any], kwargs: Mapping[str, Any]
) -> bool:
    """Whether a positional argument is meant for ``job``: all arguments fit only then, as Python counts."""
    context = KNOWN_CONTEXT_KEYS & signature.parameters.keys()
    try:
        bound = signature.bind_partial(*args, **kwargs)
        missing = {
            name
            for name, parameter in signature.parameters.items()
            if name not in bound.arguments
            and parameter.default is parameter.empty
            and parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        }
    except TypeError:
        return False
    return JOB_PARAMETER in bound.arguments and missing <= context
