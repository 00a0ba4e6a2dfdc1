"""Prepare the full MNIST data set for ``load("mnist")``, from local files or by download."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from jaxtrends import paths
from jaxtrends.data import prepare_mnist
from jaxtrends.errors import Problem
from jaxtrends.formats import showable
from jaxtrends.terminal import mend_streams


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status: 0, or 2 for a user's mistake."""
    mend_streams()
    parser = argparse.ArgumentParser(prog="python -m scripts.import_mnist", description=__doc__)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "directory",
        nargs="?",
        type=paths.argument,
        help="folder with the four original IDX files, raw or .gz: train-images-idx3-ubyte, "
        "train-labels-idx1-ubyte, t10k-images-idx3-ubyte, t10k-labels-idx1-ubyte",
    )
    source.add_argument("--download", action="store_true", help="download them instead (11 MB)")
    parser.add_argument(
        "--data-dir",
        type=paths.argument,
        help="TFDS data folder (default: $TFDS_DATA_DIR, else ~/tensorflow_datasets)",
    )
    options = parser.parse_args(arguments)
    print("Preparing MNIST: this takes about ten seconds.", flush=True)
    try:
        prepared = prepare_mnist(options.directory, options.data_dir)
    except Problem as problem:
        print(f"error: {showable(str(problem))}", file=sys.stderr)
        return 2
    print(f"Prepared MNIST in {prepared}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
