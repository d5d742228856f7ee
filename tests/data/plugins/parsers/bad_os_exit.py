"""Ends the process at a batch with EXIT."""

import os

from parsers import parser


class bad_os_exit(parser.parser):
    def do(self, i_args: dict[str, object]) -> None:
        if "EXIT" in str(i_args["data"]):
            print("these are my last words", flush=True)  # noqa: T201 - plugins print
            os.write(2, b"written past everybody\n")
            os._exit(3)
