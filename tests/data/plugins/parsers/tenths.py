"""Behaves as CGRU's parsers do for programs that print tenths of a frame without ending the line.

A batch that ends with a point and a digit has the percents of the current frame. A name after "to "
and before the next space begins a frame. Its log has the batches and the number of calls without data.
"""

import json

from parsers import parser


class tenths(parser.parser):
    def __init__(self) -> None:
        parser.parser.__init__(self)
        self.name = ""
        self.batches: list[str] = []
        self.ticks_seen = 0

    def do(self, i_args: dict[str, object]) -> None:
        data = str(i_args["data"])
        if data:
            self.batches.append(data)
        else:
            self.ticks_seen += 1
        name, space, _ = data.partition("to ")[2].partition(" ")
        if space and name != self.name:
            self.frame += bool(self.name)
            self.name = name
            self.percentframe = 0
        if data[-2:-1] == "." and data[-1] in "0123456789":
            self.percentframe = 10 * int(data[-1])
        self.calculate()

    def getLog(self) -> str:
        return json.dumps([self.batches, self.ticks_seen])
