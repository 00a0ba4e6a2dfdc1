"""The one environment in which every test runs, the same on every machine."""

from __future__ import annotations

import os
import shutil
import tempfile

# All of this must stand before JAX is imported. The temporary home is made once, by the process
# that the user started; pytest-xdist's workers, and the programs that tests start, inherit it.
if "PYTEST_XDIST_WORKER" not in os.environ:
    for name in list(os.environ):
        if name.startswith(("JAX_", "XLA_", "TFDS_", "WANDB_", "XDG_", "MPL", "NPROC")):
            del os.environ[name]
    home = tempfile.mkdtemp(prefix="jaxtrends-tests-")
    os.environ |= {
        "HOME": home,  # no prepared data, no credentials, no settings of the user's
        "JAX_PLATFORMS": "cpu",
        "JAX_COMPILATION_CACHE_DIR": os.path.join(home, "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
        "MPLBACKEND": "agg",
        "WANDB_MODE": "disabled",
    }

import hypothesis
import jax
import pytest

jax.config.update("jax_num_cpu_devices", 2)  # so that placing blocks on devices can be seen to work
jax.config.update("jax_numpy_dtype_promotion", "strict")

# The same examples at every run; and no deadline, since the first example compiles.
hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None)
hypothesis.settings.load_profile("repeatable")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """Have two processes share the papers of a file that runs all of them."""
    from tests import spread

    return spread.scheduler(config, log)


def pytest_unconfigure() -> None:
    """Remove the temporary home, once, when the workers are done."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        shutil.rmtree(os.environ["HOME"], ignore_errors=True)
