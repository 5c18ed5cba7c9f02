"""Every error of the package, in one tree. Imports neither Airflow nor Ray.

::

    AirflowSynapseError
    ├── ExecutionError                      something about one job
    │   ├── RayJobFailedError               the job ended FAILED
    │   │   ├── RayJobEntrypointError       user code: the entrypoint's exit code was not 0
    │   │   ├── RayJobRuntimeEnvError       its runtime_env could not be set up
    │   │   ├── RayJobNotScheduledError     no node ever took it
    │   │   └── RayJobInfrastructureError   its supervisor, node or head was lost
    │   ├── RayJobStoppedError              somebody stopped it
    │   ├── RayJobTimeoutError              a limit of ours ran out
    │   ├── RayJobNotFoundError             the cluster does not know it (any more)
    │   ├── JobIdConflictError              its id belongs to another job
    │   ├── RayJobSubmissionError           it was refused, by us or by Ray
    │   └── RayLogNotFoundError             a file of it, its log or its result, is gone
    ├── RayClusterUnreachableError          no usable answer from the cluster
    ├── RayAuthenticationError              the cluster answered 401 or 403
    ├── RayAddressError                     the cluster's address or TLS settings can't be used
    ├── PluginManifestError                 a plugin folder's config.yaml, files or size
    │   └── PluginRequirementsError         a line of its requirements
    ├── FunctionSourceError                 a Python function that can't be sent to a cluster
    ├── ActionNotFoundError                 the manifest has no such action
    └── ActionParamsError                   params that JSON or the action's schema refuse
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
    "PluginManifestError",
    "PluginRequirementsError",
    "RayAddressError",
    "RayAuthenticationError",
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

for (
    _name
) in __all__:  # the one path by which they are imported, shown in tracebacks and pickles, too
    if isinstance(_error := globals()[_name], type):
        _error.__module__ = __name__
