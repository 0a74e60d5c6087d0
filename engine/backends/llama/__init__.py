"""Run a Llama on this machine."""
