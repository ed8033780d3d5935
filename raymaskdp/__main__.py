"""`python -m raymaskdp`: the command line without its script on the path."""

import sys

from raymaskdp.cli import main

sys.exit(main())
