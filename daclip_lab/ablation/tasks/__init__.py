"""What one run of a study does: the tasks."""
