"""Facts about this machine and process: CPU features, libraries, clocks, memory."""
