"""What is wrong with ranks, hosts and launcher: from facts to findings."""
