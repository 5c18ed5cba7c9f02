"""One job: how it is submitted once, stopped for sure, and how it ends with which result."""
