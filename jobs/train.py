"""What `ray job submit` runs on a cluster; the arguments are those of `raymaskdp train`.

ray job submit --working-dir . -- python jobs/train.py --config configs/demo.yaml
"""

import sys

from raymaskdp.cli import main

sys.exit(main(["train", *sys.argv[1:]]))
