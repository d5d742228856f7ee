"""Raises at a batch with RAISE."""

from parsers import parser


class bad_raise(parser.parser):
    def do(self, i_args: dict[str, object]) -> None:
        self.frame += str(i_args["data"]).count("FRAME")
        if "RAISE" in str(i_args["data"]):
            raise ValueError("no such thing")
