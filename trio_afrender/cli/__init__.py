"""The command line: one file a command; owns signals and the terminal."""
