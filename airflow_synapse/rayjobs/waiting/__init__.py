"""Why a job is PENDING: what it asks for, what the cluster has, and what is being installed."""
