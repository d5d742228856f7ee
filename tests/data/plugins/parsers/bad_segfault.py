"""Reads address 0 at a batch with CRASH."""

import ctypes

from parsers import parser


class bad_segfault(parser.parser):
    def do(self, i_args: dict[str, object]) -> None:
        if "CRASH" in str(i_args["data"]):
            ctypes.string_at(0)
