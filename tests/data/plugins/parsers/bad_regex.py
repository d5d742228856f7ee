"""A pattern of exponential time, during which the interpreter lock is held."""

import re

from parsers import parser

PATTERN = re.compile(r"(x+x+)+y")


class bad_regex(parser.parser):
    def do(self, i_args: dict[str, object]) -> None:
        PATTERN.search(str(i_args["data"]))
