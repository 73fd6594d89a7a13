"""Find out what is wrong with a program: gradient checks and non-finite values."""
