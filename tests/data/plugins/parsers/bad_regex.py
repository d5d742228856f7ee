"""A pattern that takes for ever on the right text, and keeps the interpreter lock meanwhile."""

import re

from parsers import parser

PATTERN = re.compile(r"(x+x+)+y")


class bad_regex(parser.parser):
    def do(self, i_args: dict[str, object]) -> None:
        PATTERN.search(str(i_args["data"]))
