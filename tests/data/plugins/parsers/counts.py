"""Counts and hashes its input: the final state does not depend on the cuts into batches."""

import zlib

from parsers import parser


class counts(parser.parser):
    tail = False

    def __init__(self) -> None:
        super().__init__()
        self.digest = 0
        self.length = 0

    def do(self, i_args: dict[str, object]) -> None:
        data = str(i_args["data"])
        self.length += len(data)
        self.digest = zlib.crc32(data.encode("utf-8", "surrogatepass"), self.digest)
        self.frame += data.count("FRAME")
        self.resources = f"length:{self.length} digest:{self.digest}"
        self.log = f"mode {i_args['mode']}"
        if "BADFRAME" in data:
            self.warning = True
