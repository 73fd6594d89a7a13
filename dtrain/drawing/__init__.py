"""Draw flow graphs as SVG and Graphviz text."""
