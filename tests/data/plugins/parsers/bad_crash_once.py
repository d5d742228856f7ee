"""Ends the process at a batch with EXIT, the first time in a store folder."""

import os
from pathlib import Path

from parsers import parser


class bad_crash_once(parser.parser):
    def do(self, i_args: dict[str, object]) -> None:
        self.frame += str(i_args["data"]).count("FRAME")
        if "EXIT" in str(i_args["data"]):
            crashed = Path(str(self.taskInfo["store_dir"])) / "crashed"
            if not crashed.exists():
                crashed.touch()
                os._exit(3)
