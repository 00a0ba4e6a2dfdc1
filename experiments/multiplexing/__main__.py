"""``python -m experiments.multiplexing``."""

import sys

from experiments.multiplexing import main

sys.exit(main())
