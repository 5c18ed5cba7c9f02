"""``airflow ray check``: shows the findings of a diagnosis."""

from __future__ import annotations

import asyncio
import sys
import time
from argparse import Namespace
from collections.abc import Iterable
from typing import Any

from airflow_synapse import settings
from airflow_synapse.cli import exits
from airflow_synapse.cli.cluster import hook_of, ref_of
from airflow_synapse.cli.durations import seconds_of
from airflow_synapse.cli.exits import command, tell
from airflow_synapse.cli.tables import FOR_PEOPLE, print_rows
from airflow_synapse.exceptions import RayAddressError
from airflow_synapse.hooks.cluster_ref import ClusterRef
from airflow_synapse.hooks.connection import RayConnection
from airflow_synapse.rayjobs.diagnosis import FAIL, OK, SKIPPED, WARN, Finding, diagnose
from airflow_synapse.rayjobs.models import RayCluster


@command
def check(args: Namespace) -> int:
    """Check whether a connection can run jobs."""
    job_timeout = seconds_of(args.job_timeout, "--job-timeout")
    findings = []
    if args.kubernetes:
        from airflow_synapse.cli.clusters.check import check_kubernetes

        findings += check_kubernetes(args)
    if not args.kubernetes or args.ray_cluster:
        findings += _check_cluster(args, job_timeout)
    is_for_people = args.output in FOR_PEOPLE
    print_rows([row_of(finding, is_for_people=is_for_people) for finding in findings], args.output)
    if is_for_people:
        tell_what_to_do(findings)
    return code_of(findings)


def _check_cluster(args: Namespace, job_timeout: float) -> list[Finding]:
    connection, first = _read_connection(ref_of(args))
    _tell_progress(first)
    if connection is None:
        return [first]
    return [first, *asyncio.run(_diagnosed(connection.cluster, job_timeout)), _name()]


def _name() -> Finding:
    """Return whether this Airflow can tell its jobs from those of others."""
    name = settings.deployment()
    if name:
        return Finding("name", OK, f"Jobs of this Airflow carry the name {name}.")
    told = "This Airflow has no name, so jobs that nobody wants any more are not stopped."
    return Finding("name", WARN, told, "Set [ray] deployment or [api] base_url.")


def _read_connection(ref: ClusterRef) -> tuple[RayConnection | None, Finding]:
    began = time.monotonic()
    try:
        connection = hook_of(ref).connection
    except RayAddressError as exc:
        return None, Finding("connection", FAIL, str(exc), error=exc)
    seconds = time.monotonic() - began
    return connection, Finding("connection", OK, _summary(ref, connection), seconds=seconds)


def _summary(ref: ClusterRef, connection: RayConnection) -> str:
    """Return a summary of a connection without its secrets."""
    cluster = connection.cluster
    has = {
        "a token": cluster.has_token,
        "headers": cluster.headers,
        "cookies": cluster.cookies,
        "a client certificate": cluster.client_cert,
    }
    told = ", ".join(name for name, value in has.items() if value) or "no credentials"
    return f"{ref} points to {cluster.address}, with {told}."


async def _diagnosed(cluster: RayCluster, job_timeout: float) -> list[Finding]:
    findings = []
    async for finding in diagnose(cluster, job_timeout=job_timeout):
        _tell_progress(finding)
        findings.append(finding)
    return findings


def _tell_progress(finding: Finding) -> None:
    """Show progress if this is a terminal, because the table comes only at the end."""
    if sys.stderr.isatty():
        tell(f"  {finding.step}: {finding.verdict}")


def row_of(finding: Finding, *, is_for_people: bool) -> dict[str, Any]:
    """Return a finding as a row of the table; a program's has more."""
    row: dict[str, Any] = {
        "step": finding.step,
        "verdict": finding.verdict,
        "seconds": f"{finding.seconds:.2f}" if is_for_people else round(finding.seconds, 3),
        "found": finding.told,
    }
    return row if is_for_people else {**row, "to_do": finding.todo or None}


def tell_what_to_do(findings: Iterable[Finding]) -> None:
    """Tell people what to do next, and how many steps ended how."""
    count = dict.fromkeys((OK, WARN, FAIL, SKIPPED), 0)
    for finding in findings:
        count[finding.verdict] += 1
        if finding.todo:
            tell(f"{finding.step}: {finding.todo}")
    tell(", ".join(f"{number} {verdict}" for verdict, number in count.items() if number) + ".")


def code_of(findings: Iterable[Finding]) -> int:
    """Return the exit code of the first step that failed."""
    for finding in findings:
        if finding.error is not None:
            return exits.code_of(finding.error)
        if finding.verdict == FAIL:
            return exits.UNEXPECTED
    return exits.OK
