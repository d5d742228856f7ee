"""Meters of a host's load: each module has a class of its own name, derived from `resbase`."""
