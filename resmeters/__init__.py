"""Meters of a host's load: one module a meter, with a class of the module's name."""
