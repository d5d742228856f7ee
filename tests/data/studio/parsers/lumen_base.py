# -*- coding: utf-8 -*-
# mypy: ignore-errors

from parsers import parser


class lumen_base(parser.parser):
    """What all Lumen tools print"""

    def checkFile(self, line):
        if line.startswith("wrote "):
            self.appendFile(line[6:].strip(), False)
        elif line.startswith("preview "):
            self.appendFile(line[8:].strip(), True)
