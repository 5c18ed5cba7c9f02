"""Runs a job in a process of this machine, without a cluster."""
