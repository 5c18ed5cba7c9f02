"""``airflow ray validate``: shows whether a plugin folder can be sent, and what would be sent."""

from __future__ import annotations

from argparse import Namespace

from airflow_synapse.cli import exits
from airflow_synapse.cli.check import row_of, tell_what_to_do
from airflow_synapse.cli.exits import command
from airflow_synapse.cli.tables import FOR_PEOPLE, print_rows
from airflow_synapse.local.validation import validate_plugin
from airflow_synapse.rayjobs.diagnosis import FAIL


@command
def validate(args: Namespace) -> int:
    """Check a plugin folder without a cluster."""
    validation = validate_plugin(args.plugin)
    if args.files:
        rows = [{"file": name, "bytes": size} for name, size in validation.files]
        print_rows(rows, args.output)
    else:
        is_for_people = args.output in FOR_PEOPLE
        rows = [row_of(found, is_for_people=is_for_people) for found in validation.findings]
        print_rows([{k: v for k, v in row.items() if k != "seconds"} for row in rows], args.output)
    if args.output in FOR_PEOPLE:
        tell_what_to_do(validation.findings)
    is_bad = any(found.verdict == FAIL for found in validation.findings)
    return exits.BAD_INPUT if is_bad else exits.OK
