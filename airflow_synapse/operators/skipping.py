"""Skips a task whose job says by its exit code that there was nothing to do."""

from __future__ import annotations

from collections.abc import Collection

from airflow_synapse.exceptions import RayJobEntrypointError
from airflow_synapse.version_compat import AirflowSkipException


def skip_if_wanted(error: RayJobEntrypointError, codes: int | Collection[int] | None) -> None:
    """Do nothing, unless the job exited with a code that is to skip its task.

    :param codes: One exit code, or some, or none.
    :raises AirflowSkipException: if it did.
    """
    if codes is None or error.exit_code is None:
        return
    if error.exit_code == codes if isinstance(codes, int) else error.exit_code in codes:
        raise AirflowSkipException(
            f"{error.subject} exited with code {error.exit_code}, which skips the task."
        ) from error
