"""Ask: the command line. Nothing here imports torch before arguments are parsed.

A command is a module of this package with ``SUMMARY``, ``add_arguments(parser)`` and
``run(arguments) -> exit code``; `medfuse.cli.main.COMMANDS` lists them.
"""
