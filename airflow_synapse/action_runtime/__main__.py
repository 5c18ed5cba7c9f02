"""``python -m airflow_synapse_action_runtime``: the command of every job that runs an action."""

from __future__ import annotations

import sys

from .runner import main

if __name__ == "__main__":
    sys.exit(main())
