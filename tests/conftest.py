"""Makes the modules of this folder importable by the tests below it."""
