"""Find faults of ranks, hosts and launcher, and the commands that fix them."""
