"""Prints 4000 lines, alternately to stdout and to stderr."""

import os

for number in range(4000):
    os.write(1 + number % 2, b"line %d\n" % number)
