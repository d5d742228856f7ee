"""The commands there are, and what ``--help`` says without one of them."""

__all__ = ("COMMANDS", "HELP", "HELP_WORDS")

COMMANDS = ("agent", "run", "submit", "gateway", "check", "config", "doctor", "resources", "why")
HELP_WORDS = ("--help", "-h", "help", "-", "--", "-?", "?", "/?")
"""First words that ask for help; those without letters are Afanasy's."""
HELP = """\
usage: trio_afrender [agent] [nimby|NIMBY] --server URL [options]
       trio_afrender run JOB.json [options]
       trio_afrender submit JOB.json [--server af://HOST:PORT] [options]
       trio_afrender gateway --listen wss://HOST:PORT --tokens FILE [options]
       trio_afrender check [parser|service|meter NAME ...] [options]
       trio_afrender config [KEY ...] [options]
       trio_afrender resources [options]
       trio_afrender doctor [options]
       trio_afrender why JOB.BLOCK.TASK [options]

A render agent for Afanasy farms.

  agent     be a render of a farm (what happens without a command)
  run       run a job file on this machine, with a farm of its own
  submit    send a job file to an afserver
  gateway   let agents with websockets be renders of an afserver
  check     try a parser on a log, a service on a task, a meter, or all plugins
  config    print every setting and where it comes from
  resources what a render tells of this host; --watch: again and again
  doctor    say what is wrong with this host, and what mends it
  why       what became of a task on this host, and why

  COMMAND --help   the options of a command
  --version        print the version
  --debug          with any command: show the traceback of an error

Exit codes: 0 done, 1 some task failed, 2 bad usage or input, 3 no server or refused.
"""
