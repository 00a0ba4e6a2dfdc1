"""``python -m experiments.moe_scaling``."""

import sys

from experiments.moe_scaling import main

sys.exit(main())
