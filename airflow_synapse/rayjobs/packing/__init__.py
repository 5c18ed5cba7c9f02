"""What a job is sent with: code, params, requirements and resources. Sends nothing."""
