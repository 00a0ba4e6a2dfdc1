"""``python -m experiments.neuroevolution``."""

import sys

from experiments.neuroevolution import main

sys.exit(main())
