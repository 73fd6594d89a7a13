"""Output for people: tables, messages, progress, and log files."""
