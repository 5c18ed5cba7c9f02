"""What a task, its trigger, its link and its view leave for one another."""
