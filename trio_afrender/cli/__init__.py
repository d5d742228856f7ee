"""The command line: one module for each command; handles signals and the terminal."""
