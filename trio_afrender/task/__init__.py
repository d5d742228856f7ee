"""One run of a task: service, command, process, log, parser, checks, files, outcome.

`run` is the entry and the boundary: it obtains GPUs, folder and plugins and sends exactly one outcome.
`execution` starts the processes, `process_lifecycle` waits for them or stops them, `completion` does
what follows the last one, `status_rules` decides the status. `monitors` run beside a process.
"""
