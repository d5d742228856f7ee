"""Writes to all sockets of its process at a batch with WRITE."""

import contextlib
import os
import stat

from parsers import parser


class bad_socket(parser.parser):
    def do(self, i_args: dict[str, object]) -> None:
        if "WRITE" not in str(i_args["data"]):
            return
        for fd in range(3, 64):
            with contextlib.suppress(OSError):
                if stat.S_ISSOCK(os.fstat(fd).st_mode):
                    os.write(fd, b"this is no frame, and far too long to be one")
