"""Watching jobs to their ends, many on one cluster, with as few requests as it takes."""
