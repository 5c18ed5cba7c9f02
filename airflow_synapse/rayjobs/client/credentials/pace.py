"""How often credentials are read again, and for how long they may be refused. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from airflow_synapse.rayjobs.client.budget import Kind, Lane


@dataclass(frozen=True)
class CredentialPace:
    """The times of credentials that may change, in seconds.

    :param first_pause: Between the first two readings in a row.
    :param longest_pause: Between two readings at most. Each pause is twice as long as the one before.
    :param call_patience: How long a submission or another call may be refused.
    :param watch_patience: How long a watch may be refused. Projected tokens come late.
    :param file_check: Between two checks whether a file has changed.
    :param expiry_margin: How long before its end a token counts as expired, at most.
    """

    first_pause: float = 1.0
    longest_pause: float = 4.0
    call_patience: float = 15.0
    watch_patience: float = 120.0
    file_check: float = 1.0
    expiry_margin: float = 10.0

    def patience(self, lane: Lane, kind: Kind) -> float:
        """Return how long a request may be refused.

        What a watch could do without is given up sooner: the list of all jobs, and each read of a log,
        which is read again anyway.
        """
        is_of_watch = lane in (Lane.STATUS, Lane.END, Lane.LOG)
        is_optional = kind in (Kind.LIST, Kind.STREAM)
        if lane is Lane.KILL or (is_of_watch and not is_optional):
            return self.watch_patience
        return self.call_patience


USUAL_PACE = CredentialPace()

IMPATIENT = CredentialPace(call_patience=0.0, watch_patience=0.0)
"""For who looks at a cluster and wants to know at once what is wrong."""
