"""Forks a process that keeps all descriptors open, then exits."""

import os
import signal

from parsers import parser


class bad_fork(parser.parser):
    def do(self, i_args: dict[str, object]) -> None:
        if "FORK" in str(i_args["data"]):
            if os.fork() == 0:
                signal.pause()
            os._exit(4)
