"""Allocates another 64 MiB for each batch with MORE."""

from parsers import parser


class bad_leak(parser.parser):
    def __init__(self) -> None:
        super().__init__()
        self.memory: list[bytes] = []

    def do(self, i_args: dict[str, object]) -> None:
        if "MORE" in str(i_args["data"]):
            self.memory.append(b"x" * (64 * 1024 * 1024))
