"""A job's log: reads its bytes from a position and turns them into lines."""
