"""``python -m airflow_synapse_action_runtime``: the command of every job that runs an action."""

from __future__ import annotations

import os
import sys

if __name__ == "__main__":
    # Until it runs, the plugin's own json.py must not stand in for that of the standard library.
    sys.path[:] = [path for path in sys.path if os.path.realpath(path) != os.path.realpath(".")]

    from .runner import main

    raise SystemExit(main())
