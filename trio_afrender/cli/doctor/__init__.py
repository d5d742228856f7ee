"""The checks of ``trio_afrender doctor``, by what they examine: `machine`, `files`, `network`.

Each check has three parts, one after the other: a class of facts, a function ``probe_*`` that reads
them from this host (blocking), and a function ``check_*`` that makes findings of them (pure). The
command is `cli.commands.doctor`.
"""
