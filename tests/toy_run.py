"""The toy experiment as a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests import toy_experiment

TOY = Path(toy_experiment.__file__)

# Set by a program in between: a fork of a process that has threads may hang.
LIMITED = """
import os, resource, sys
limit = int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""


def start(*arguments, largest_file=None, **options):
    """Start it with flags; no file that it writes may grow beyond ``largest_file`` bytes."""
    limited = () if largest_file is None else ("-c", LIMITED, str(largest_file))
    return subprocess.Popen(
        [sys.executable, *limited, str(TOY), *map(str, arguments)],
        stdout=options.pop("stdout", subprocess.PIPE),
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def finish(*arguments, **options):
    """Run it to its end: status, output and errors, among which there is no traceback."""
    process = start(*arguments, **options)
    out, err = process.communicate(timeout=300)
    assert "Traceback" not in err, err
    return process.returncode, out, err
