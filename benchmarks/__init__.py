"""The programs that measure the figures in docs/measurements."""
