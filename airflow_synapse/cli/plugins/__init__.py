"""The commands that need no cluster."""
