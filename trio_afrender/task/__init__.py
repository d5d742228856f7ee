"""One run of a task: service, command, process, log, parser, checks, files, outcome.

`run` has the steps in their order and is the boundary: it obtains GPUs, folder and plugins and sends
exactly one outcome. `run_state` is what is known of the run; its parts share it. `process_runner` starts
the processes, `process_lifecycle` waits for them or stops them, `monitors` run beside them, `completion`
does what follows the last one, `status_rules` decides the status.
"""
