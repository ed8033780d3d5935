"""The command line: one function a command, no logic; what belongs together is in one module.

Every command prints a short text for people on standard output, or one JSON object with `--json`;
progress goes to standard error. Exit status: 0 done, 1 some videos failed, 2 the input has to be corrected.
"""

from raymaskdp.cli.program import cli, main

__all__ = ["cli", "main"]
