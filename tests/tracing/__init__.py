"""Programs: tracing, graphs, printing, initialisers, errors."""
