"""Pretended parts that tests stand on: a Ray dashboard and a bad network."""
