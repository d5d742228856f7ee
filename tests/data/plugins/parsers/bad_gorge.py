"""Allocates 2 GiB in one call: at once for GORGE, 1 MiB at a time for GROW."""

from parsers import parser

MIB = 1024 * 1024


class bad_gorge(parser.parser):
    def __init__(self) -> None:
        super().__init__()
        self.memory: list[bytes] = []

    def do(self, i_args: dict[str, object]) -> None:
        text = str(i_args["data"])
        self.frame += text.count("FRAME")
        if "GORGE" in text:
            self.memory.append(b"x" * (2048 * MIB))
        if "GROW" in text:
            for _ in range(2048):
                self.memory.append(b"x" * MIB)
