"""What becomes of a job when the try that follows it ends first."""
