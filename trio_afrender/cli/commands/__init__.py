"""The commands of the program, one module for each: its work, its output, its exit code."""
