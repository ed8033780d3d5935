"""The command line: one function for each command, without logic; related commands share a module.

Every command prints a short text for people on standard output, or one JSON object with `--json`; progress
goes to standard error. Exit status: 0 done, 1 some videos failed, 2 invalid input.
"""

from raymaskdp.cli.program import cli, main

__all__ = ["cli", "main"]
