"""``python -m experiments.forward_grad``."""

import sys

from experiments.forward_grad import main

sys.exit(main())
