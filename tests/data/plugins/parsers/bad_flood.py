"""Prints 2.4 MB in each call by `print`, and 15 kB to the file descriptor."""

import os
import sys

from parsers import parser


class bad_flood(parser.parser):
    def do(self, i_args: dict[str, object]) -> None:
        self.frame += 1
        for _ in range(1000):
            print("flood " * 200)  # noqa: T201 - plugins print
            print("flood " * 200, file=sys.stderr)  # noqa: T201 - plugins print
        os.write(1, b"past everybody\n" * 1000)
