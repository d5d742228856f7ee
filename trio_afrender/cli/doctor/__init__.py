"""The checks of ``trio_afrender doctor``, by what they examine: `machine`, `files`, `network`.

A check is a function ``check_*`` that reads this host (blocking) and yields findings. Where the rules
are not trivial, they are a pure function ``compare_*``. The command is `cli.commands.doctor`.
"""
