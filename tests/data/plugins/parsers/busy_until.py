"""Uses the processor until the file that a line names exists."""

import os

from parsers import parser


class busy_until(parser.parser):
    def do(self, i_args: dict[str, object]) -> None:
        _, found, name = str(i_args["data"]).strip().partition("until ")
        while found and not os.path.exists(name):  # noqa: PTH110 - plugins do it so
            pass
