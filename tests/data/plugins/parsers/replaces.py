"""Replaces batches that contain a number sign, and appends to the last one."""

from parsers import parser


class replaces(parser.parser):
    def do(self, i_args: dict[str, object]) -> str | None:
        data = str(i_args["data"])
        if i_args["mode"] != "RUN":
            return data + "[the end]"
        return data.replace("#", "<hash>") if "#" in data else None
