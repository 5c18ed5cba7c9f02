"""Every error of the package, in one tree. Imports neither Airflow nor Ray.

::

    AirflowSynapseError
    ├── ExecutionError                      something went wrong with one job
    │   ├── RayJobFailedError               the job ended FAILED
    │   │   ├── RayJobEntrypointError       user code: the entrypoint's exit code was not 0
    │   │   │   └── LocalRunFailedError     … in a process of this machine
    │   │   ├── RayJobRuntimeEnvError       its runtime_env could not be set up
    │   │   ├── RayJobNotScheduledError     no node ever ran it
    │   │   └── RayJobInfrastructureError   its supervisor, its node or the head node was lost
    │   ├── RayJobStoppedError              somebody or something else stopped it
    │   ├── RayJobTimeoutError              one of our time limits ran out
    │   ├── RayJobNotFoundError             the cluster does not know it, or no longer does
    │   ├── JobIdConflictError              another job has its submission ID
    │   ├── RayJobSubmissionError           we or Ray refused it
    │   ├── RayLogNotFoundError             its log or its result is gone
    │   ├── RayClusterGoneError             its cluster on Kubernetes is gone
    │   ├── RayClusterConflictError         somebody else's cluster has the name
    │   └── RayClusterInvalidError          no cluster can be made of what was given
    ├── RayClusterUnreachableError          no usable answer from the cluster
    ├── RayAuthenticationError              the cluster answered 401 or 403
    ├── RayAddressError                     the cluster's address or TLS settings can't be used
    ├── PluginManifestError                 something is wrong with a plugin folder
    │   └── PluginRequirementsError         a line of its requirements is wrong
    ├── FunctionSourceError                 a Python function can't be sent to a cluster
    ├── ActionNotFoundError                 the manifest has no such action
    └── ActionParamsError                   JSON or the action's schema rejects the params
"""

from __future__ import annotations

from airflow_synapse.exceptions.base import AirflowSynapseError
from airflow_synapse.exceptions.clusters import (
    RayAddressError,
    RayAuthenticationError,
    RayClusterUnreachableError,
)
from airflow_synapse.exceptions.jobs import (
    LAST_LINES,
    ExecutionError,
    JobIdConflictError,
    RayJobEntrypointError,
    RayJobFailedError,
    RayJobInfrastructureError,
    RayJobNotFoundError,
    RayJobNotScheduledError,
    RayJobRuntimeEnvError,
    RayJobStoppedError,
    RayJobSubmissionError,
    RayJobTimeoutError,
    RayLogNotFoundError,
)
from airflow_synapse.exceptions.kuberay import (
    RayClusterConflictError,
    RayClusterGoneError,
    RayClusterInvalidError,
)
from airflow_synapse.exceptions.local_runs import LocalRunFailedError
from airflow_synapse.exceptions.plugins import (
    ActionNotFoundError,
    ActionParamsError,
    FunctionSourceError,
    PluginManifestError,
    PluginRequirementsError,
)

__all__ = [
    "LAST_LINES",
    "ActionNotFoundError",
    "ActionParamsError",
    "AirflowSynapseError",
    "ExecutionError",
    "FunctionSourceError",
    "JobIdConflictError",
    "LocalRunFailedError",
    "PluginManifestError",
    "PluginRequirementsError",
    "RayAddressError",
    "RayAuthenticationError",
    "RayClusterConflictError",
    "RayClusterGoneError",
    "RayClusterInvalidError",
    "RayClusterUnreachableError",
    "RayJobEntrypointError",
    "RayJobFailedError",
    "RayJobInfrastructureError",
    "RayJobNotFoundError",
    "RayJobNotScheduledError",
    "RayJobRuntimeEnvError",
    "RayJobStoppedError",
    "RayJobSubmissionError",
    "RayJobTimeoutError",
    "RayLogNotFoundError",
]

# Tracebacks and pickles show the path that users import them from.
for _name in __all__:
    if isinstance(_error := globals()[_name], type):
        _error.__module__ = __name__
