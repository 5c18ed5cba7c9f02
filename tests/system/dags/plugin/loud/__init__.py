"""Prints, returns and fails."""
