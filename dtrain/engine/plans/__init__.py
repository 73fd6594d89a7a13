"""Plans: a graph as a flat list of steps on virtual buffers."""
