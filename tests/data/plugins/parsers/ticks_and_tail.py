"""Is called without new output, and reads unfinished lines."""

from parsers import parser


class ticks_and_tail(parser.parser):
    tail = True

    def do(self, i_args: dict[str, object]) -> None:
        if not i_args["data"]:
            self.frame += 1
        self.report = str(i_args.get("tail", ""))
