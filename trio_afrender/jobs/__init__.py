"""What a job is: its file, its specification, views of its state, the report. No trio."""
