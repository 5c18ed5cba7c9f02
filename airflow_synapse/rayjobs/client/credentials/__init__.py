"""What lets us into a cluster: where it comes from, when it is read again, and for how long it may be refused."""
