"""Services and parsers by name, and the process they live in."""
