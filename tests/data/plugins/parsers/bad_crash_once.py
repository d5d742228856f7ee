"""Ends the process at a portion that says EXIT, unless the file it names is there already."""

import os
from pathlib import Path

from parsers import parser


class bad_crash_once(parser.parser):
    def do(self, i_args: dict[str, object]) -> None:
        self.frame += str(i_args["data"]).count("FRAME")
        if "EXIT" in str(i_args["data"]):
            mark = Path(str(self.taskInfo["store_dir"])) / "crashed"
            if not mark.exists():
                mark.touch()
                os._exit(3)
