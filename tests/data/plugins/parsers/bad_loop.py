"""Never returns from a batch with LOOP."""

from parsers import parser


class bad_loop(parser.parser):
    def do(self, i_args: dict[str, object]) -> None:
        self.frame += str(i_args["data"]).count("FRAME")
        while "LOOP" in str(i_args["data"]):
            pass
