"""The engine for a Llama on this machine, against a small real one."""
