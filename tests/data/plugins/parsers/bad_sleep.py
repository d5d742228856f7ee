"""Blocks without using the processor at a batch with WAIT."""

import threading

from parsers import parser


class bad_sleep(parser.parser):
    def do(self, i_args: dict[str, object]) -> None:
        if "WAIT" in str(i_args["data"]):
            threading.Event().wait()
