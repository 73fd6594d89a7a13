"""Output for users during a run: progress, tables, messages and logs."""
