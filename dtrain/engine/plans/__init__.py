"""A plan: the flat list of steps on virtual buffers that a graph becomes."""
