"""Jobs: the job file, the specification, views of the state, the report, submission. No trio."""
