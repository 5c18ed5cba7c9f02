"""A node of Kubernetes whose containers are processes of this machine.

A pod has a network namespace, hostname, PIDs, shared memory and ``/tmp/ray`` of its own, but the
files of this machine: an image only says what comes first on the PATH. Empty folders that volumes
are mounted on stay behind.
"""
