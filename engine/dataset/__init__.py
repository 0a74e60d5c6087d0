"""From raw `trn.json` lines to clean products."""
