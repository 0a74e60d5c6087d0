"""The questions of training rows."""
