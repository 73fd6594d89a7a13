"""The command line, by what a person types and sees."""
