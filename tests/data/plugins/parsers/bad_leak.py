"""Takes 64 MiB more at each portion that says MORE."""

from parsers import parser


class bad_leak(parser.parser):
    def __init__(self) -> None:
        super().__init__()
        self.hoard: list[bytes] = []

    def do(self, i_args: dict[str, object]) -> None:
        if "MORE" in str(i_args["data"]):
            self.hoard.append(b"x" * (64 * 1024 * 1024))
