"""Process trees on Windows: job objects, pipes, windows, commands.

Every module can be imported everywhere, so that its rules are tested everywhere; `win32` makes the calls.
"""
