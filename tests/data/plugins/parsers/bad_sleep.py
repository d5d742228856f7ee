"""Waits for ever, without using the processor, on a portion that says WAIT."""

import threading

from parsers import parser


class bad_sleep(parser.parser):
    def do(self, i_args: dict[str, object]) -> None:
        if "WAIT" in str(i_args["data"]):
            threading.Event().wait()
