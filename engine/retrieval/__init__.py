"""The catalogue: built from clean products, searched, and decided upon."""
