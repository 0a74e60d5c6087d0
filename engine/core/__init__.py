"""Values, errors, text and files that every layer uses."""
