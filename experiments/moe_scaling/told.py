"""Scale and departures as a record reports them; they depend on flags and presets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from experiments.moe_scaling.config import Config, networks, trained
from jaxtrends import transformer
from jaxtrends.formats import powers, span
from jaxtrends.transformer import Transformer


def _networks(config: Config) -> list[Transformer]:
    """The networks of the chosen studies."""
    return [found for study in trained(config) for _, _, found in networks(config, study)]


def scale(config: Config, data: Mapping[str, Any]) -> str:
    """Parameters and sequence lengths, ours and the paper's."""
    found = _networks(config)
    paper = "the paper trains 10^9 to 10^11 parameters on 300B tokens."
    if not found:
        return f"No network is trained, only single layers are timed; {paper}"
    parameters = powers([transformer.parameter_count(network) for network in found])
    return (
        f"Transformers of about {parameters} parameters on sequences of {config.texts.context} "
        f"tokens; {paper}"
    )


def departures(config: Config, data: Mapping[str, Any]) -> tuple[str, ...]:
    """Where the chosen studies differ from the paper's settings."""
    found, studies = _networks(config), trained(config)
    parts = [setting.part for study in studies for _, setting, _ in networks(config, study)]
    if not found:
        return ()
    said = [
        "The paper measures zero-shot accuracy and validation loss; here it is the loss on "
        "held-out text only."
    ]
    if "compute_to_quality" in studies and config.compute_to_quality.every == 1:
        said.append("The paper has experts in every other layer; these small networks in all.")
    experts = [max(network.experts) for network in found if any(network.experts)]
    if experts:
        said.append(
            f"The paper has 128 experts; here there are {span(experts)}, and claims are about 16."
        )
    factors = {part.network.capacity_factor for part in parts}
    if factors != {1.0}:
        said.append(
            f"The capacity factor is {span(factors)} instead of 1.0, which would drop too many "
            "tokens at these small batches."
        )
    said.append(
        "Adam runs at a constant learning rate after warm-up, so that one run gives the loss at "
        "every budget."
    )
    halves = networks(config, "halves") if "halves" in studies else ()
    if chosen := [setting for _, setting, _ in halves]:
        layers = sorted({setting.part.network.layers for setting in chosen})
        counts = sorted({int(setting.size) for setting in chosen})
        said.append(
            f"Halves are those of networks with {span(layers)} layers and {span(counts)} experts "
            "per layer; the paper has 24 layers."
        )
    if "layout" in studies:
        e = config.layout.experts
        said.append(
            f"Layouts have E = {e} experts per layer, or 4E = {4 * e}; the paper has 32 and 128."
        )
    if "second_expert" in studies:
        said.append(
            f"A second expert is chosen among {config.second_expert.experts}; the paper has 32."
        )
    if "distillation" in studies:
        said.append(
            f"A student drops 1 of {config.distillation.network.layers} layers; the paper drops 3 "
            "of 24. At equal compute, the teacher's forward passes count, but not its training."
        )
    coefficients = {part.schedule.z for part in parts} - {0.0}
    if coefficients:
        said.append(f"There is a router z-loss of {span(coefficients)}; the paper has none.")
    return (*said, "Batches are drawn with replacement.")
