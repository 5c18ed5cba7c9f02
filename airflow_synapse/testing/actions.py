"""Runs an action of a plugin in a process of its own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from airflow_synapse.local.running import LocalRun, run_locally
from airflow_synapse.rayjobs.packing.preparation import JobRequest, PluginSource, prepare_action
from airflow_synapse.rayjobs.packing.resources import Resources


def run_action(
    working_dir: str | Path,
    action_name: str,
    params: Mapping[str, Any] | None = None,
    *,
    env: Mapping[str, str] | None = None,
) -> LocalRun:
    """Run an action on this machine as it would run in a Ray job, and return what it left.

    It runs in a new process of this Python, with what is installed here, and in a copy of the plugin
    without the files that would not be sent. Bad input is refused as on submission. If the action calls
    ``ray.init``, that starts a Ray on this machine.

    :param working_dir: The plugin's folder.
    :param action_name: An action of the manifest, or an entrypoint ``package.module:attribute``.
    :param params: The action's keyword arguments, as JSON values.
    :param env: Environment variables for the action.
    :return: Its ``result``, ``report``, ``log``, and the bytes of its ``artifacts`` by name.
    :raises LocalRunFailedError: if the action failed. The error, a :class:`.RayJobFailedError`, has its log.
    :raises PluginManifestError: if the plugin's folder can't be used.
    :raises ActionNotFoundError: if the plugin has no such action.
    :raises ActionParamsError: if the params can't be sent or do not match the action's schema.
    """
    job = prepare_action(
        PluginSource(working_dir=working_dir, env=env or {}),
        JobRequest.of(Resources(), {}, {}),
        action_name,
        params,
    )
    return run_locally(job, name=f"Action {action_name!r}")
