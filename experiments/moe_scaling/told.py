"""What a record says of its networks, which flags and presets change."""

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
    """Parameters and lengths, ours and the paper's."""
    found = _networks(config)
    paper = "the paper trains 10^9 to 10^11 parameters on 3 x 10^11 tokens."
    if not found:
        return f"No network is trained, single layers are timed; {paper}"
    parameters = powers([transformer.parameter_count(network) for network in found])
    return (
        f"Transformers of about {parameters} parameters on sequences of {config.texts.context} "
        f"tokens; {paper}"
    )


def departures(config: Config, data: Mapping[str, Any]) -> tuple[str, ...]:
    """Where the runs leave the paper's settings, as far as studies are chosen that do."""
    found, studies = _networks(config), trained(config)
    parts = [getattr(config, study) for study in studies]
    if not found:
        return ()
    said = [
        "The paper's quality is zero-shot accuracy and validation loss; here it is validation "
        "loss alone."
    ]
    if "compute_to_quality" in studies and config.compute_to_quality.every == 1:
        said.append("The paper puts experts on every other layer; small networks have them on all.")
    experts = [max(network.experts) for network in found if any(network.experts)]
    if experts:
        said.append(
            f"The paper has 128 experts; here are {span(experts)}, and claims are about 16."
        )
    factors = {part.network.capacity_factor for part in parts}
    if factors != {1.0}:
        said.append(
            f"Capacity factor {span(factors)} instead of 1.0, which at few tokens a step drops too "
            "many."
        )
    said.append(
        "Adam at a constant rate after a warm-up, so that one run tells the loss at every budget."
    )
    if "layout" in studies:
        if config.layout.network.layers == 2:
            said.append("Layouts are of two layers, whose halves are a layer each.")
        e = config.layout.experts
        said.append(
            f"Layouts have E = {e} experts a layer, or 4E = {4 * e}; the paper's have 32 and 128."
        )
    if "distillation" in studies:
        said.append(
            f"A student has 1 layer less of {config.distillation.network.layers}, where the paper "
            "takes 3 of 24 away."
        )
    coefficients = {part.schedule.z for part in parts} - {0.0}
    if coefficients:
        said.append(f"A router's z-loss of {span(coefficients)}, which the paper does not have.")
    return (*said, "Batches are drawn with replacement.")
