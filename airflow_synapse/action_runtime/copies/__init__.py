"""Copies of what a job leaves, which outlive the node of its driver."""
