"""The log of a run: bytes on disk, then lines, batches of text, and head-and-tail windows.

`interfaces` says what a log is, `writer` and `segments` keep it in a folder, the ``*_log`` modules are
the logs that a run works with. The supervisor and the plugin host load parts of this package; only
modules that they do not need import trio.
"""
