"""Prepares what is sent with a job: code, params, requirements and resources. Sends nothing itself."""
