"""`python -m raymaskdp`: the command line where its script is not on the path."""

import sys

from raymaskdp.cli import main

sys.exit(main())
