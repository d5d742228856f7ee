"""Calls sys.exit at a batch with EXIT."""

import sys

from parsers import parser


class bad_sys_exit(parser.parser):
    def do(self, i_args: dict[str, object]) -> None:
        self.frame += 1
        if "EXIT" in str(i_args["data"]):
            sys.exit("enough")
