"""Takes two gigabytes: all at once where it says GORGE, bit by bit in one call where it says GROW."""

from parsers import parser

MIB = 1024 * 1024


class bad_gorge(parser.parser):
    def __init__(self) -> None:
        super().__init__()
        self.hoard: list[bytes] = []

    def do(self, i_args: dict[str, object]) -> None:
        text = str(i_args["data"])
        self.frame += text.count("FRAME")
        if "GORGE" in text:
            self.hoard.append(b"x" * (2048 * MIB))
        if "GROW" in text:
            for _ in range(2048):
                self.hoard.append(b"x" * MIB)
