"""What a record says of its networks, which flags and presets change."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from experiments.moe_design import planned
from experiments.moe_design.config import Config
from jaxtrends import transformer
from jaxtrends.formats import powers, span


def scale(config: Config, data: Mapping[str, Any]) -> str:
    """Layers, parameters and experts, ours and the paper's."""
    networks = [work.sizes for parts in planned.work(config).values() for work in parts]
    layers = span([len(network.experts) for network in networks])
    parameters = powers([transformer.parameter_count(network) for network in networks])
    experts = span([max(network.experts) for network in networks if any(network.experts)])
    return (
        f"Decoders of {layers} layer{'s' * (layers != '1')} with about {parameters} parameters and "
        f"{experts} experts, against encoder-decoders of up to 269B parameters with up to 64."
    )
