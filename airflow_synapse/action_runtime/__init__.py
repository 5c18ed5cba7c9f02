"""What runs inside the Ray job: calls the action and writes its result.

Shipped with every job as the top-level package ``airflow_synapse_action_runtime`` together with
a ``call.json``, so nothing of ours has to be installed on the cluster. Standard library only,
Python >= 3.9.
"""
