"""The tests of this project with a Windows CPython under Debian's Wine."""
