"""What ``airflow ray`` understands. Loaded at every start of ``airflow``, so it imports next to nothing."""

from __future__ import annotations

# mypy: disable-error-code="no-untyped-call"
# Airflow's Arg has no types.
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from typing import Any

from airflow.cli.cli_config import (
    ARG_OUTPUT,
    ARG_VERBOSE,
    ActionCommand,
    Arg,
    CLICommand,
    GroupCommand,
    lazy_load_command,
    positive_int,
)

from airflow_synapse.cli import exits

STATUSES = ("PENDING", "RUNNING", "SUCCEEDED", "FAILED", "STOPPED")


class _CommandAfterDashes(Arg):
    """What follows ``--``, as ``entrypoint``.

    argparse drops the dashes, and then nothing tells a command from an action any more.
    """

    def add_to_parser(self, parser: ArgumentParser) -> None:
        """Have the parser set the command aside before it reads the rest."""
        parse = parser.parse_known_args

        def parse_known_args(
            args: Sequence[str] | None = None, namespace: Any = None
        ) -> tuple[Namespace, list[str]]:
            words = list(args or ())
            end = words.index("--") if "--" in words else len(words)
            found, unknown = parse(words[:end], namespace)
            found.entrypoint = words[end + 1 :]
            return found, unknown

        parser.parse_known_args = parse_known_args  # type: ignore[method-assign, assignment]


ARG_CONN_ID = Arg(
    ("--conn-id",),
    help="The Airflow connection of the cluster, of type ray (default: ray_default)",
    default="ray_default",
)
ARG_JOB_ID = Arg(("job_id",), help="The job's submission id", metavar="JOB_ID")

ARGS_SUBMIT = (
    Arg(
        ("action",),
        help="An action of the plugin in --working-dir, or an entrypoint package.module:attribute. "
        "Leave it out where a shell command follows after --",
        metavar="ACTION",
        nargs="?",
    ),
    _CommandAfterDashes(("entrypoint",)),
    Arg(("--working-dir",), help="Folder, or .zip URI, that the job runs in", metavar="DIR"),
    Arg(
        ("--params",),
        help="The action's params: a JSON object, @FILE with one, or @- to read standard input",
        metavar="JSON",
    ),
    Arg(("--job-id",), help="The submission id. The same again starts nothing new", metavar="ID"),
    Arg(("--num-cpus",), help="CPU cores that the job reserves", type=float, metavar="N"),
    Arg(("--num-gpus",), help="GPUs that it reserves", type=float, metavar="N"),
    Arg(("--memory",), help="Bytes that it reserves", type=int, metavar="BYTES"),
    Arg(
        ("--resources",),
        help='Custom resources that it reserves: {"name": amount}, or @FILE',
        metavar="JSON",
    ),
    Arg(
        ("--env",),
        help="A variable of the job's environment; may be given again. Other users of this machine "
        "can see arguments: give secrets in --runtime-env @FILE",
        metavar="NAME=VALUE",
        action="append",
        default=[],
    ),
    Arg(
        ("--runtime-env",),
        help="Ray's runtime_env, merged over the plugin's: a JSON object, or @FILE",
        metavar="JSON",
    ),
    Arg(
        ("--package-manager",),
        help="What installs the requirements: pip or uv",
        choices=("pip", "uv"),
    ),
    Arg(
        ("--requirements-file",),
        help="Instead of the folder's requirements.txt",
        metavar="FILE",
    ),
    Arg(
        ("--wait",),
        help="Show the job's log until it ends, and exit as it ends",
        action="store_true",
    ),
)

ARGS_LIST = (
    Arg(
        ("--status",),
        help=f"Only jobs of this status: {', '.join(STATUSES)}. May be given again",
        metavar="STATUS",
        type=str.upper,
        choices=STATUSES,
        action="append",
        default=[],
    ),
    Arg(
        ("--since",),
        help="Only jobs submitted within this time: 90s, 30m, 12h, 7d, or ISO 8601 such as PT1H30M",
        metavar="DURATION",
    ),
    Arg(
        ("--limit",),
        help="How many jobs are shown at most, 0 for all (default: 50)",
        type=positive_int(allow_zero=True),
        default=50,
        metavar="N",
    ),
    Arg(("--own",), help="Only jobs that this Airflow submitted", action="store_true"),
)

ARGS_LOGS = (
    Arg(
        ("-f", "--follow"),
        help="Go on until the job ends, and exit as it ends. Ctrl-C leaves the job running",
        action="store_true",
    ),
    Arg(
        ("--tail",),
        help="Only the last N lines, and with --follow what comes after them",
        type=positive_int(allow_zero=False),
        metavar="N",
    ),
)

ARGS_CHECK = (
    Arg(
        ("--job-timeout",),
        help="Seconds that the test job may take to end (default: 60)",
        type=positive_int(allow_zero=False),
        default=60,
        metavar="SECONDS",
    ),
)

_EXAMPLES_OF_SUBMIT = (
    "examples:\n"
    '  airflow ray submit --working-dir plugins/hello greet --params \'{"name": "Ray"}\' --wait\n'
    "  airflow ray submit --num-cpus 2 --working-dir src -- python train.py --epochs 3\n"
    "  airflow ray submit -- 'nvidia-smi | head -n 12'"
)


def get_ray_cli_commands() -> list[CLICommand]:
    """Return the commands, for Airflow's ``cli_parser``."""
    return [
        GroupCommand(
            name="ray",
            help="Run and look at Ray jobs",
            description="Run and look at jobs on the Ray cluster of an Airflow connection.",
            epilog=exits.IN_HELP,
            subcommands=(
                _command(
                    "submit.submit",
                    "Run a plugin action or a shell command as a job",
                    ARGS_SUBMIT,
                    "Submit a job and print its id, or with --wait show its log and exit as it ends.",
                    _EXAMPLES_OF_SUBMIT,
                ),
                _command("jobs.list_jobs", "List jobs, the newest first", (*ARGS_LIST, ARG_OUTPUT)),
                _command(
                    "jobs.status", "Tell all that is known of a job", (ARG_JOB_ID, ARG_OUTPUT)
                ),
                _command(
                    "logs.logs",
                    "Print a job's log",
                    (ARG_JOB_ID, *ARGS_LOGS),
                    "Print a job's log as it is. All else goes to standard error.",
                ),
                _command(
                    "jobs.stop",
                    "Stop a job and see that it is stopped",
                    (ARG_JOB_ID,),
                    "Stop a job. Returns once it has ended, and says so if it has not.",
                ),
                _command(
                    "check.check",
                    "Find out whether a connection can run jobs",
                    (*ARGS_CHECK, ARG_OUTPUT),
                    "Try a connection step by step up to a test job of a second, and say what is "
                    "wrong. Exits by the first step that failed; warnings alone are 0.",
                ),
            ),
        )
    ]


def _command(
    path: str, about: str, args: Sequence[Arg], description: str | None = None, examples: str = ""
) -> ActionCommand:
    function = path.rpartition(".")[2]
    return ActionCommand(
        name="list" if function == "list_jobs" else function,
        help=about,
        func=lazy_load_command(f"airflow_synapse.cli.{path}"),
        args=(*args, ARG_CONN_ID, ARG_VERBOSE),
        description=description,
        epilog="\n\n".join(part for part in (examples, exits.IN_HELP) if part),
    )
