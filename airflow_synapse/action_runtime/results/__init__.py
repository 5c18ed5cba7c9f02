"""From what an action returned to the file with its result."""
