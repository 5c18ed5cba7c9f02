"""What an action reports while it works: progress, metrics, artifacts and messages."""
