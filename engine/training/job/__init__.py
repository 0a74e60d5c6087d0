"""The file of a job, and which of its steps are done."""
