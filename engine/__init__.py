"""Everything the assistant can do, without a face: used by `tui` and `scripts`, knows neither."""
