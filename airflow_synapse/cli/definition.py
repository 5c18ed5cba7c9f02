"""The commands and arguments of ``airflow ray``. Every ``airflow`` command loads this, so it imports little."""

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
    """Puts what follows ``--`` into ``entrypoint``.

    argparse drops the dashes, and without them a command looks like an action.
    """

    def add_to_parser(self, parser: ArgumentParser) -> None:
        """Make the parser set the command aside before it parses the rest."""
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
    help="The cluster's Airflow connection, of type ray (default: ray_default)",
)
ARG_RAY_CLUSTER = Arg(
    ("--ray-cluster",),
    help="Instead of a connection: a RayCluster on Kubernetes",
    metavar="NAMESPACE/NAME",
)
ARG_KUBERNETES_CONN_ID = Arg(
    ("--kubernetes-conn-id",),
    help="The Airflow connection to the Kubernetes cluster that has it (default: kubernetes_default)",
)
ARG_REACH = Arg(
    ("--reach",),
    help="The way to it: service, proxy, an address with {namespace} and {name}, or auto (default)",
)
ARGS_CLUSTER = (ARG_CONN_ID, ARG_RAY_CLUSTER, ARG_KUBERNETES_CONN_ID, ARG_REACH)
ARG_JOB_ID = Arg(("job_id",), help="The job's submission ID", metavar="JOB_ID")

ARGS_SUBMIT = (
    Arg(
        ("action",),
        help="An action of the plugin in --working-dir, or an entrypoint package.module:attribute. "
        "Omit it if a shell command follows --",
        metavar="ACTION",
        nargs="?",
    ),
    _CommandAfterDashes(("entrypoint",)),
    Arg(("--working-dir",), help="The folder or .zip URI that the job runs in", metavar="DIR"),
    Arg(
        ("--params",),
        help="The action's params: a JSON object, @FILE to read it from a file, or @- to read standard input",
        metavar="JSON",
    ),
    Arg(("--job-id",), help="The submission ID. Reusing it starts no second job", metavar="ID"),
    Arg(("--num-cpus",), help="CPU cores to reserve", type=float, metavar="N"),
    Arg(("--num-gpus",), help="GPUs to reserve", type=float, metavar="N"),
    Arg(("--memory",), help="Bytes of memory to reserve", type=int, metavar="BYTES"),
    Arg(
        ("--resources",),
        help='Custom resources to reserve: {"name": amount}, or @FILE',
        metavar="JSON",
    ),
    Arg(
        ("--env",),
        help="An environment variable for the job; repeat it for more. Other users of this machine can "
        "see command-line arguments, so pass secrets with --runtime-env @FILE",
        metavar="NAME=VALUE",
        action="append",
        default=[],
    ),
    Arg(
        ("--runtime-env",),
        help="Ray's runtime_env, merged with the plugin's and taking precedence: a JSON object, or @FILE",
        metavar="JSON",
    ),
    Arg(
        ("--package-manager",),
        help="The tool that installs the requirements: pip or uv",
        choices=("pip", "uv"),
    ),
    Arg(
        ("--requirements-file",),
        help="The requirements file to use instead of the folder's requirements.txt",
        metavar="FILE",
    ),
    Arg(
        ("--wait",),
        help="Show the job's log until the job ends; the exit code says how it ended",
        action="store_true",
    ),
    Arg(
        ("--local",),
        help="Run it in a process of this machine, without a cluster. Requirements are not installed",
        action="store_true",
    ),
)

ARGS_VALIDATE = (
    Arg(("plugin",), help="The plugin's folder", metavar="PLUGIN"),
    Arg(("--files",), help="List the files that would be sent", action="store_true"),
)

ARGS_LIST = (
    Arg(
        ("--status",),
        help=f"Show only jobs with this status: {', '.join(STATUSES)}. Repeat it for more",
        metavar="STATUS",
        type=str.upper,
        choices=STATUSES,
        action="append",
        default=[],
    ),
    Arg(
        ("--since",),
        help="Show only jobs submitted within this time: 90s, 30m, 12h, 7d, or ISO 8601 such as PT1H30M",
        metavar="DURATION",
    ),
    Arg(
        ("--limit",),
        help="Show at most this many jobs, 0 for all (default: 50)",
        type=positive_int(allow_zero=True),
        default=50,
        metavar="N",
    ),
    Arg(("--own",), help="Show only jobs that this Airflow submitted", action="store_true"),
)

ARGS_LOGS = (
    Arg(
        ("-f", "--follow"),
        help="Keep printing until the job ends; the exit code says how it ended. Ctrl-C leaves the job running",
        action="store_true",
    ),
    Arg(
        ("--tail",),
        help="Print only the last N lines and, with --follow, what comes after them",
        type=positive_int(allow_zero=False),
        metavar="N",
    ),
)

ARGS_REPORT = (
    Arg(
        ("--artifact",),
        help="Write the bytes of this artifact to standard output instead",
        metavar="NAME",
    ),
)

ARG_NAMESPACE = Arg(
    ("--namespace",),
    help="The namespace in Kubernetes (default: that of the connection, else default)",
)
ARG_CLUSTER = Arg(("cluster",), help="The RayCluster", metavar="NAMESPACE/NAME")

ARGS_CHECK = (
    Arg(
        ("--job-timeout",),
        help="How long to wait for the test job to end: 60, 90s, 5m or ISO 8601 such as PT5M (default: 60)",
        default="60",
        metavar="DURATION",
    ),
    Arg(
        ("--kubernetes",),
        help="Check the Kubernetes connection: rights, KubeRay and its operator. With --ray-cluster, check "
        "that cluster, too",
        action="store_true",
    ),
    ARG_NAMESPACE,
)

ARGS_REAP = (
    Arg(
        ("--dry-run",),
        help="Only show which jobs look as if nobody wanted them. Looks once and does not wait",
        action="store_true",
    ),
    Arg(
        ("--force",),
        help="Stop jobs of deleted tasks even if they are ten or more, and more than half of all. Make sure that "
        "no other Airflow has the name of this one",
        action="store_true",
    ),
)

_EXAMPLES_OF_SUBMIT = (
    "examples:\n"
    '  airflow ray submit --working-dir plugins/hello greet --params \'{"name": "Ray"}\' --wait\n'
    "  airflow ray submit --num-cpus 2 --working-dir src -- python train.py --epochs 3\n"
    "  airflow ray submit -- 'nvidia-smi | head -n 12'"
)


def get_ray_cli_commands() -> list[CLICommand]:
    """Return the commands for Airflow's ``cli_parser``."""
    return [
        GroupCommand(
            name="ray",
            help="Run and inspect Ray jobs",
            description="Run and inspect jobs on the Ray cluster of an Airflow connection.",
            epilog=exits.IN_HELP,
            subcommands=(
                _command(
                    "submit.submit",
                    "Run a plugin action or a shell command as a job",
                    ARGS_SUBMIT,
                    "Submit a job and print its submission ID. With --wait, show its log and exit when it ends.",
                    _EXAMPLES_OF_SUBMIT,
                ),
                ActionCommand(
                    name="validate",
                    help="Check a plugin folder without a cluster",
                    func=lazy_load_command("airflow_synapse.cli.plugins.validate.validate"),
                    args=(*ARGS_VALIDATE, ARG_OUTPUT, ARG_VERBOSE),
                    description="Check a plugin's manifest, requirements, package and entrypoints, and show "
                    "what would be sent. Runs none of its code and asks no cluster.",
                    epilog=exits.IN_HELP,
                ),
                _command("jobs.list_jobs", "List jobs, newest first", (*ARGS_LIST, ARG_OUTPUT)),
                _command(
                    "jobs.status",
                    "Show everything that is known about a job",
                    (ARG_JOB_ID, ARG_OUTPUT),
                ),
                _command(
                    "logs.logs",
                    "Print a job's log",
                    (ARG_JOB_ID, *ARGS_LOGS),
                    "Print a job's log unchanged. Everything else goes to standard error.",
                ),
                _command(
                    "results.result",
                    "Print what a job's action returned",
                    (ARG_JOB_ID,),
                    "Print what the job's action returned, as JSON.",
                ),
                _command(
                    "results.report",
                    "Show what a job has reported: progress, metrics, artifacts and messages",
                    (ARG_JOB_ID, *ARGS_REPORT, ARG_OUTPUT),
                    "Show the last value of everything that a job has reported, while it runs and after. With "
                    "-o json, show all values.",
                ),
                _command(
                    "jobs.stop",
                    "Stop a job and wait until it has stopped",
                    (ARG_JOB_ID,),
                    "Stop a job and wait until it has ended. Reports an error if it does not end.",
                ),
                _command(
                    "reap.reap",
                    "Stop the jobs that nobody wants any more",
                    (*ARGS_REAP, ARG_OUTPUT),
                    "Stop jobs of this Airflow whose task is over or was deleted, as triggerers do all the time. "
                    "Needs Airflow's database. Two looks have to agree, so this takes a minute if tasks are over, "
                    "ten minutes if tasks were deleted, and no time if there is nothing to stop.",
                ),
                _clusters(),
                _command(
                    "check.check",
                    "Check whether a connection can run jobs",
                    (*ARGS_CHECK, ARG_OUTPUT),
                    "Test a connection step by step, up to a test job that takes a second, and say what is "
                    "wrong. The exit code is that of the first step that failed; warnings do not count.",
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
        args=(*args, *ARGS_CLUSTER, ARG_VERBOSE),
        description=description,
        epilog="\n\n".join(part for part in (examples, exits.IN_HELP) if part),
    )


def _clusters() -> GroupCommand:
    about = {
        "list_clusters": ("List the RayClusters of a namespace", (ARG_NAMESPACE, ARG_OUTPUT)),
        "describe": (
            "Show what Kubernetes says about a RayCluster, its pods and its events",
            (ARG_CLUSTER, ARG_OUTPUT),
        ),
    }
    return GroupCommand(
        name="clusters",
        help="Look at Ray clusters on Kubernetes",
        epilog=exits.IN_HELP,
        subcommands=tuple(
            ActionCommand(
                name="list" if function == "list_clusters" else function,
                help=text,
                func=lazy_load_command(f"airflow_synapse.cli.clusters.commands.{function}"),
                args=(*args, ARG_KUBERNETES_CONN_ID, ARG_VERBOSE),
                epilog=exits.IN_HELP,
            )
            for function, (text, args) in about.items()
        ),
    )
