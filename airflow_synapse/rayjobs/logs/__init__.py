"""A job's log: bytes read from a position on, and lines made of them."""
