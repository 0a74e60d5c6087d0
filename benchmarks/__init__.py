"""What the project's figures were measured with."""
