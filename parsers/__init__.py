"""Parsers: one module a parser, with a class of the module's name. `parser` is the base class."""
