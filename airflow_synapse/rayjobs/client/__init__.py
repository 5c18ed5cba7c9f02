"""HTTP to one cluster, and the one place that opens sockets."""
