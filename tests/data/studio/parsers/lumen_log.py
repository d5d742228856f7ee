# -*- coding: utf-8 -*-
# mypy: ignore-errors

import re
import sys

import cgruutils

from parsers import lumen_base

re_pass = re.compile(r"pass (\d+)/(\d+)")
re_mem = re.compile(r"memory: (.*)")

if sys.version_info[0] < 3:
    text_type = unicode  # noqa: F821 - of an older Python
else:
    text_type = str


class lumen_log(lumen_base.lumen_base):
    """Lumen log
    """

    def __init__(self):
        lumen_base.lumen_base.__init__(self)
        self.str_error = ["lumen: fatal"]
        self.firstframe = True

    def do(self, i_args):
        data = i_args["data"]
        if len(data) < 1:
            return

        for line in data.split("\n"):
            if line.startswith("frame "):
                if not self.firstframe:
                    self.frame += 1
                self.firstframe = False
                self.percentframe = 0
            match = re_pass.search(line)
            if match is not None:
                self.percentframe = int(100.0 * int(match.group(1)) / int(match.group(2)))
            match = re_mem.search(line)
            if match is not None:
                self.resources = "mem:%d" % cgruutils.memStrToBytes(match.group(1))
            self.checkFile(text_type(line))

        self.calculate()
