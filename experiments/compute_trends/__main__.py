"""``python -m experiments.compute_trends``."""

import sys

from experiments.compute_trends import main

sys.exit(main())
