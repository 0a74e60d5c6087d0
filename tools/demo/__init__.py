"""Make the demo model."""
