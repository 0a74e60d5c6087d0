"""Models on disk and on the hub: what there is, fetching one, removing one."""
