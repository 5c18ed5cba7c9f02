"""Skips a task whose job's exit code says that there was nothing to do."""

from __future__ import annotations

from collections.abc import Collection

from airflow_synapse.exceptions import RayJobEntrypointError
from airflow_synapse.version_compat import AirflowSkipException


def skip_if_wanted(error: RayJobEntrypointError, codes: int | Collection[int] | None) -> None:
    """Skip the task if its job exited with one of the given codes.

    :param codes: One exit code, several, or None.
    :raises AirflowSkipException: if the job exited with one of them.
    """
    if codes is None or error.exit_code is None:
        return
    if error.exit_code == codes if isinstance(codes, int) else error.exit_code in codes:
        raise AirflowSkipException(
            f"{error.subject} exited with code {error.exit_code}. skip_on_exit_code skips the task for it."
        ) from error
