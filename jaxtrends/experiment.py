"""An experiment: its design, and how Python code runs it. All experiments, by name."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from jaxtrends.design import Design
from jaxtrends.record import Record


@dataclass(frozen=True)
class Experiment(Design):
    """One paper's claims and the studies that test them, ready to be run.

    The fields are those of `jaxtrends.design.Design`.
    """

    def run(
        self,
        preset: str = "default",
        *,
        methods: Mapping[str, Callable[..., Any]] | None = None,
        terminal: Any = None,
        **settings: Any,
    ) -> Record:
        """Run it in this process, as its command does, and return the record.

        Args:
            preset:   which settings to start from.
            methods:  of your own, by name, run beside the experiment's.
            terminal: where the run says how far it is: ``jaxtrends.terminal.Terminal()``, say. By
                default it says nothing but warnings.
            settings: what flags set, by the names of their fields: ``seeds=3``, or
                ``training={"mlp": {"steps": 40}}`` for fields inside another; and how to run, as in
                `jaxtrends.flags.Options`: ``output="runs/mine"``, ``resume=True``.

        Raises:
            Problem: a setting, the data or the output folder is at fault.
            KeyboardInterrupt: SIGINT came; what was done is saved, for ``resume``.
            Interrupted: SIGTERM or the end of the time limit came; likewise.
        """
        from jaxtrends import running

        return running.call(self, preset, settings, methods or {}, terminal)


def discover() -> dict[str, Experiment]:
    """Every experiment by name: the modules of ``experiments`` that hold an EXPERIMENT."""
    import experiments

    found = {}
    for module in pkgutil.iter_modules(experiments.__path__):
        if not module.name.startswith("_"):
            found[module.name] = importlib.import_module(f"experiments.{module.name}").EXPERIMENT
    return found
