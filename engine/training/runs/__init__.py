"""The state of training runs, for other processes."""
