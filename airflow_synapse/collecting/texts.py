"""What is told about jobs that nobody wants any more. Pure."""

from __future__ import annotations

from airflow_synapse.hooks.cluster_ref import ClusterRef

NO_NAME = (
    "This Airflow has no name, so it can't tell its jobs from those of other Airflows. Jobs that nobody wants "
    "any more are not stopped. Set [ray] deployment or [api] base_url in Airflow's configuration."
)
"""What to log where jobs would be collected if this Airflow had a name."""

STOPPED = "Ray job %s on %s was stopped, because nobody wants it any more: %s."
"""With the job, the cluster and the reason."""

NOT_STOPPED = "Ray job %s on %s could not be stopped, although nobody wants it any more: %s. %s"
"""With the job, the cluster, the reason and the error."""

NOT_STOPPED_YET = f"{NOT_STOPPED} The stop will be tried again in about %g s."
"""The same, with the seconds as well."""


def by_force(cluster_ref: ClusterRef) -> str:
    """Return the command that stops jobs of gone tasks however many they are."""
    return f"airflow ray reap --force{cluster_ref.command_options()}"


def refusal(number: int, *, cluster: str, command: str) -> str:
    """Return why many jobs are not stopped, and what to do if they should be.

    :param number: How many jobs look unwanted because Airflow does not have their tasks.
    :param command: The command that stops them all the same.
    """
    return (
        f"Airflow does not have the tasks of {number} jobs on {cluster}, which are more than half of all its "
        "jobs there. That many at once are probably a mistake: another Airflow may have the same [ray] "
        "deployment or [api] base_url, or this one may have a new database. So none of these jobs is stopped. "
        f"If nobody wants them any more, run `{command}`."
    )


NO_LOOK = "Jobs that nobody wants any more could not be looked for on %s: %s"
"""With the cluster and the error."""

NO_MORE_LOOKS = (
    "Jobs that nobody wants any more are not looked for on %s until another task uses it, because each look has "
    "failed for an hour. The Ray cluster may have been deleted."
)
"""With the cluster."""

LOOK_AGAIN = "Jobs that nobody wants any more are looked for on %s again."
"""With the cluster."""
