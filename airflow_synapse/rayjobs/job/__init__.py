"""One job: submitted once, stopped for sure, its end and its result."""
