"""Parsers: each module has a class of its own name, derived from `parser` of `parsers.parser`."""
