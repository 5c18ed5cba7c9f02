"""What the parser makes of a command line, and what it costs those who run other commands."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from airflow.cli.cli_parser import get_parser

from airflow_synapse.cli import exits
from airflow_synapse.cli.definition import STATUSES, get_ray_cli_commands
from airflow_synapse.exceptions import AirflowSynapseError
from airflow_synapse.rayjobs import models

HEAVY = (
    "ray",
    "aiohttp",
    "requests",
    "jsonschema",
    "airflow_synapse.rayjobs",
    "airflow_synapse.hooks",
)

_SCRIPT = """
import json, sys
import airflow.cli.cli_config
before = set(sys.modules)
from airflow_synapse.cli.definition import get_ray_cli_commands
get_ray_cli_commands()
print(json.dumps(sorted(set(sys.modules) - before)))
"""


def test_definition_loads_next_to_nothing() -> None:
    """Whoever runs another command of Airflow pays for no client, no hook and no executor."""
    done = subprocess.run([sys.executable, "-c", _SCRIPT], capture_output=True, check=True)

    loaded = json.loads(done.stdout.splitlines()[-1])
    assert "airflow_synapse.cli.definition" in loaded
    assert not [name for name in loaded if name.startswith(HEAVY)]


def test_commands_are_there(airflow_cli) -> None:
    """Airflow's parser knows all commands, and their help names the exit codes."""
    (group,) = get_ray_cli_commands()

    assert [c.name for c in group.subcommands] == [
        "submit",
        "validate",
        "list",
        "status",
        "logs",
        "result",
        "report",
        "stop",
        "reap",
        "clusters",
        "check",
    ]
    for sub in group.subcommands:
        told = airflow_cli("ray", sub.name, "--help")
        assert told.code == 0
        assert ("--conn-id" in told.out) == (sub.name not in ("validate", "clusters"))
        assert "3  the job FAILED" in told.out


def test_statuses_are_ray_s() -> None:
    """The definition repeats Ray's statuses, as it must not load our models."""
    assert set(STATUSES) == models.STATUSES


@pytest.mark.parametrize(
    ("words", "action", "entrypoint"),
    [
        (["train"], "train", []),
        (["--working-dir", "d", "train", "--wait"], "train", []),
        (["--", "ls", "-l", "--", "x"], None, ["ls", "-l", "--", "x"]),
        (["--wait", "--", "train"], None, ["train"]),
        (["train", "--", "ls"], "train", ["ls"]),
        ([], None, []),
    ],
)
def test_command_is_what_follows_the_dashes(words, action, entrypoint) -> None:
    """A word before ``--`` is an action, and all after it is a command."""
    args = get_parser().parse_args(["ray", "submit", *words])

    assert (args.action, args.entrypoint) == (action, entrypoint)


def test_word_too_many_is_refused(airflow_cli) -> None:
    """A command whose dashes were forgotten is no action with something behind it."""
    told = airflow_cli("ray", "submit", "echo", "hi")

    assert (told.code, "unrecognized arguments: hi" in told.err) == (exits.BAD_INPUT, True)


def test_every_error_has_an_exit_code() -> None:
    """Each class of error means one code; that it is bad input is said of those that are it."""
    bad_input = {
        kind.__name__
        for kind in _below(AirflowSynapseError)
        if exits.code_of(kind.__new__(kind)) == exits.BAD_INPUT
    }

    assert bad_input == {
        "RayJobSubmissionError",
        "JobIdConflictError",
        "RayClusterConflictError",
        "RayClusterInvalidError",
        "PluginManifestError",
        "PluginRequirementsError",
        "FunctionSourceError",
        "ActionNotFoundError",
        "ActionParamsError",
    }


def _below(kind: type) -> set[type]:
    return {kind for child in kind.__subclasses__() for kind in (child, *_below(child))}
