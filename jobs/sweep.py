"""What `ray job submit` runs on a cluster; the arguments are those of `raymaskdp sweep`.

ray job submit --working-dir . -- python jobs/sweep.py --config configs/demo_sweep.yaml
"""

import sys

from raymaskdp.cli import main

sys.exit(main(["sweep", *sys.argv[1:]]))
