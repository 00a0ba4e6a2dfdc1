"""``python -m experiments.moe_design``."""

import sys

from experiments.moe_design import main

sys.exit(main())
