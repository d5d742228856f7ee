"""The constructor never returns."""

from parsers import parser


class bad_made(parser.parser):
    def __init__(self) -> None:
        super().__init__()
        while True:
            pass
