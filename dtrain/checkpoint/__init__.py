"""Save the state of a run to disk and read it back."""
