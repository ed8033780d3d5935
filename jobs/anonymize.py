"""What `ray job submit` runs on a cluster; the arguments are those of `raymaskdp anonymize`.

ray job submit --working-dir . -- python jobs/anonymize.py SOURCE --out DIR
"""

import sys

from raymaskdp.cli import main

sys.exit(main(["anonymize", *sys.argv[1:]]))
