"""Leaves a Kubernetes up: ``python -m local_services.kubernetes``.

When all is ready it prints one line of JSON on standard output: ``kubeconfig`` (a path),
``namespace``, ``images`` (the only ones that can be pulled) and ``node``. It ends at SIGTERM or
Ctrl-C, and then nothing of it is left. A program that dies is started again.
"""

from __future__ import annotations

import json
import signal
import sys
import threading
from types import FrameType

from local_services.kubernetes.rig import KubernetesRig
from local_services.processes import ServiceError

_PAUSE = 0.5


def main() -> int:
    """Run until a signal comes; the exit code."""
    stop = threading.Event()

    def leave(number: int, frame: FrameType | None) -> None:
        if stop.is_set():
            return
        stop.set()
        raise KeyboardInterrupt

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, leave)
    try:
        with KubernetesRig(on_progress=_tell) as rig:
            print(json.dumps(rig.facts), flush=True)
            _keep_up(rig)
    except KeyboardInterrupt:
        _tell("stopped")
    except ServiceError as exc:
        _tell(str(exc))
        return 1
    return 0


def _keep_up(rig: KubernetesRig) -> None:
    """Start again what dies, as a node does with a control plane."""
    while not threading.Event().wait(_PAUSE):
        for name, service in rig.services.items():
            if not service.is_running:
                _tell(f"{name} has ended and is started again")
                rig.start_again(name)


def _tell(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
