"""Digits: MLPs and CNNs against the number of inputs per pass.

Every step of an arm makes the same number of passes, so N inputs per pass see N times the images;
an arm with equal images makes 1/N of the passes. The rival has one input per pass and sees the same
images; its width is chosen for equal inference MACs per image. How narrow it is depends on what is
counted: maps and demultiplexer too, which at large N take most of a small network's MACs, or only
the backbone, which leaves a width of about d / sqrt(N). Both rivals are trained. Training costs the
multiplexed network more than the rival, since its gradients also run through the maps.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.multiplexing import method
from jaxtrends import charts, declare, losses, models
from jaxtrends.comparison import Arm, Comparison, Setting
from jaxtrends.declare import ABOVE_ZERO, BELOW_ZERO, LadderView
from jaxtrends.settings import Names, PositiveInt, Schedule, Sizes
from jaxtrends.study import Run

FEATURES, CLASSES = 64, 10
TESTED = 200  # images of the test set
BACKBONES = ("mlp", "cnn")

ARMS: dict[str, dict[str, Any]] = {
    "orthogonal": {"kind": "orthogonal"},
    "plain": {},  # one input, no map
    "equal_images": {"kind": "orthogonal"},
    "hadamard": {"kind": "hadamard"},
    "learned": {"kind": "orthogonal", "learned": True},
    "identity": {"kind": "identity", "rate_of": "orthogonal"},
    "shuffled": {"kind": "orthogonal", "rate_of": "orthogonal", "how": method.IN_GROUPS},
    "unlabelled": {"kind": "orthogonal", "rate_of": "orthogonal", "how": method.OVERALL},
    "narrow": {"costs": "orthogonal"},
    "narrow_hadamard": {"costs": "hadamard"},
    "narrow_backbone": {"costs": "backbone"},
}


@dataclass(frozen=True)
class Images:
    """Digits, N per pass."""

    tasks: Names[BACKBONES] = ("mlp",)
    """Backbones."""
    arms: Names[ARMS] = (
        "orthogonal",
        "plain",
        "identity",
        "shuffled",
        "narrow",
        "narrow_backbone",
    )
    """Arms to train."""
    inputs: Sizes = (1, 2, 4, 16)
    """Inputs per pass, N; 1 is the baseline."""
    width: PositiveInt = 128
    """Width of the mlp's two hidden layers and of the cnn's dense layer."""
    channels: PositiveInt = 8
    """Channels of the cnn's two convolutions."""
    slot: PositiveInt = 32
    """Width of the demultiplexer's layer for each slot."""
    groups: PositiveInt = 64
    """Passes per training step; an arm with equal images makes 1/N of them."""
    schedule: Schedule = field(
        default_factory=lambda: Schedule(
            steps=800, log_every=40, grid=(1e-3, 3e-3, 1e-2), tuning_steps=400, tuning_seeds=2
        )
    )
    """How every arm is tuned and trained."""


@dataclass(frozen=True)
class Sizing:
    """Sizes of one network: backbone, N, and the demultiplexer's layer."""

    backbone: str
    inputs: int
    width: int
    channels: int
    slot: int

    def macs(self, mapping: str = "none") -> float:
        """MACs per image: its share of a forward pass, its map and its demultiplexing.

        A mapping of ``backbone`` counts only its share of the backbone.
        """
        if self.backbone == "mlp":
            shared = FEATURES * self.width + self.width**2
        else:
            pooled = FEATURES // 4 * self.channels
            shared = FEATURES * 9 * self.channels * (1 + self.channels) + pooled * self.width
        if mapping == "backbone":
            return shared / self.inputs
        each = {"none": 0, "identity": 0, "orthogonal": FEATURES**2, "hadamard": FEATURES}[mapping]
        return shared / self.inputs + each + self.width * self.slot + self.slot * CLASSES

    @property
    def parameters(self) -> int:
        """Learned parameters, without maps."""
        params = jax.eval_shape(network(self).init, jax.random.key(0))
        return models.count_parameters(params)

    def rival(self, costs: str) -> Sizing:
        """The mlp with one input whose MACs per image are closest to this network's.

        Args:
            costs: the kind of map to count, or ``backbone`` to count neither map nor demultiplexer
                on either side.
        """
        counted = "backbone" if costs == "backbone" else "none"
        rivals = (Sizing(self.backbone, 1, w, 1, self.slot) for w in range(1, 4 * self.width))
        return min(rivals, key=lambda one: abs(one.macs(counted) - self.macs(costs)))


@functools.cache
def network(sizing: Sizing, mapped: bool = True) -> method.Network:
    """Backbone, a dense layer and LayerNorm for every slot, and one output layer for all slots.

    If not ``mapped``, it takes its single input unmapped.
    """
    from flax import nnx

    class Slots(nnx.Module):
        def __init__(self, rngs: nnx.Rngs) -> None:
            if sizing.backbone == "mlp":
                widths = (FEATURES, sizing.width)
            else:
                self.stem = nnx.Linear(9, sizing.channels, rngs=rngs)
                self.convolution = nnx.Linear(9 * sizing.channels, sizing.channels, rngs=rngs)
                widths = (FEATURES // 4 * sizing.channels,)
            pairs = zip(widths, [*widths[1:], sizing.width], strict=True)
            self.dense = nnx.List(nnx.Linear(i, o, rngs=rngs) for i, o in pairs)
            shape = (sizing.inputs, sizing.width, sizing.slot)
            start = nnx.initializers.lecun_normal(batch_axis=(0,))
            self.slots = nnx.Param(start(rngs.params(), shape))
            self.norm = nnx.LayerNorm(sizing.slot, rngs=rngs)
            self.output = nnx.Linear(sizing.slot, CLASSES, rngs=rngs)

        def __call__(self, mixed: jax.Array) -> jax.Array:
            hidden = mixed
            if sizing.backbone == "cnn":
                hidden = hidden.reshape(-1, 8, 8, 1)
                for convolution in (self.stem, self.convolution):
                    hidden = nnx.relu(convolution(models.patches(hidden)))
                hidden = models.max_pool(hidden).reshape(mixed.shape[0], -1)
            for layer in self.dense:
                hidden = nnx.relu(layer(hidden))
            each = jnp.einsum("gw,nws->gns", hidden, self.slots[...])
            return self.output(nnx.relu(self.norm(each)))

    model = models.from_nnx(Slots)

    def apply(params: Any, matrices: jax.Array, inputs: jax.Array, key: jax.Array) -> Any:
        flat = inputs.reshape(*inputs.shape[:2], FEATURES)
        return (model.apply(params, method.mix(matrices, flat) if mapped else flat[:, 0]),)

    def loss(lane: Any, outputs: Any, inputs: jax.Array, labels: jax.Array) -> jax.Array:
        return losses.cross_entropy(outputs[0], labels)

    return method.Network(method.initialiser(model), FEATURES, apply, loss)


trainer = functools.cache(method.trainer)


def arm(name: str) -> Callable[[Setting], Arm | None]:
    """One arm of the study; it is None for numbers of inputs that it does not cover."""
    about = ARMS[name]

    def make(setting: Setting) -> Arm | None:
        part, count = setting.part, int(setting.size)
        if (count == 1) != (name == "plain") and name != "orthogonal":
            return None
        if "costs" in about and setting.task == "cnn":
            return None
        sizing = Sizing(setting.task, count, part.width, part.channels, part.slot)
        groups, kind, learned = part.groups, about.get("kind", "none"), "learned" in about
        if "costs" in about:
            sizing, groups = sizing.rival(about["costs"]), groups * count
        elif name == "equal_images":
            groups = max(1, groups // count)
        macs = sizing.macs(kind)
        return Arm(
            trainer(network(sizing, kind != "none"), sizing.inputs, groups, learned=learned),
            method.numbers("identity" if kind == "none" else kind, about.get("how", 0)),
            {
                "parameters": sizing.parameters + learned * count * FEATURES**2,
                "width": sizing.width,
                "MACs an image": round(macs),
                "overhead": round(1 - sizing.macs("backbone") / macs, 2),
                "images a step": groups * sizing.inputs,
            },
            rate_of=about.get("rate_of", ""),
        )

    return make


def data(setting: Setting, run: Run) -> Mapping[str, Any]:
    """The digits in three splits, with the groups for testing."""
    found = run.dataset("digits")
    names = ("train", "validation", "test")
    splits = {name: (getattr(found, name).inputs, getattr(found, name).labels) for name in names}
    return method.with_orders(splits)


# --- claims --------------------------------------------------------------------------------------


def odds(arm: Any) -> np.ndarray:
    """Log-odds of the test accuracy, seed by seed."""
    return method.log_odds(arm["test_accuracy"], TESTED)


def fall(to: int, name: str = "orthogonal") -> Callable[[LadderView], np.ndarray]:
    """Points of accuracy that an arm at N loses against one input through a map."""
    return lambda ladder: (
        100 * (ladder[1]["orthogonal"]["test_accuracy"] - ladder[to][name]["test_accuracy"])
    )


def least_fall(backwards: bool = False) -> Callable[[LadderView], np.ndarray]:
    """The smallest fall between neighbouring sizes, in points, seed by seed."""

    def value(ladder: LadderView) -> np.ndarray:
        if len(ladder) < 4:
            raise KeyError("a ladder of four sizes")
        found = np.stack([100 * ladder[n]["orthogonal"]["test_accuracy"] for n in ladder])
        return -np.diff(found[::-1] if backwards else found, axis=0).max(axis=0)

    return value


def from_plain(name: str, at: int) -> Callable[[LadderView], np.ndarray]:
    """Points of accuracy of an arm over the plain network."""
    return lambda ladder: (
        100 * (ladder[at][name]["test_accuracy"] - ladder[1]["plain"]["test_accuracy"])
    )


def above_bound(name: str) -> declare.Quantity:
    """Points of accuracy above the bound of a network that cannot tell slots apart."""
    return lambda task: 100 * (task[name]["test_accuracy"] - method.floor(int(task.size), CLASSES))


def gain(name: str, over: str) -> declare.Quantity:
    """Points of accuracy of an arm over another."""
    return lambda task: 100 * (task[name]["test_accuracy"] - task[over]["test_accuracy"])


def lead(name: str, over: str) -> declare.Quantity:
    """Difference in log-odds."""
    return lambda task: odds(task[name]) - odds(task[over])


NOTEBOOK = "98.58/97.38/94.67/83.65/53.30% at N = 1/2/4/8/16 (CNN, cropped MNIST; our means)"
CODE = {
    "reported": NOTEBOOK,
    "where": "the authors' vision notebook",
    "known": "code",
}
ABSTRACT = {"where": "abstract", "known": "abstract"}


def separable(id: str, name: str, statement: str) -> declare.Claim:
    """M1, for one kind of map."""
    return declare.derive(
        id,
        statement,
        gain(name, "identity"),
        quantity=f"accuracy, {name} - identity maps (points)",
        region=(20.0, np.inf),
        reason="half of the 43 points of a pilot at N = 2",
        fails={
            "shuffled": (
                gain("shuffled", "identity"),
                "with labels shuffled within groups no slot can be told apart, whatever the maps; "
                "labels left unshuffled by mistake would pass",
            )
        },
        tasks=tuple(f"{backbone}, {n}" for backbone in BACKBONES for n in (2, 4)),
        **ABSTRACT,
    )


def bounded(id: str, name: str, margin: float, reason: str, statement: str) -> declare.Claim:
    """A network that cannot tell slots apart: at the bound, or not far below."""
    return declare.derive(
        id,
        statement,
        above_bound(name),
        quantity=f"accuracy of {name} - bound of a symmetric network (points)",
        region=(-10.0, margin),
        reason=f"{reason}; ten points below the bound, the network has not learned",
        fails={
            "orthogonal": (
                above_bound("orthogonal"),
                "a network that tells slots apart is above the bound, unless test groups were not "
                "regrouped",
            )
        },
        tasks=tuple(f"{backbone}, {n}" for backbone in BACKBONES for n in (2, 4, 8)),
        source="derived",
    )


def worth(
    id: str, name: str, rival: str, words: str, counted: str, headline: bool = False
) -> declare.Claim:
    """M6, against one rival."""
    return declare.derive(
        id,
        f"N inputs per pass beat a narrow network with one input, {words}.",
        lead(name, rival),
        quantity=f"log-odds, {name} - narrow network {counted}",
        region=ABOVE_ZERO,
        reason="the sign says which of two networks of equal cost to choose",
        fails={
            "identity": (
                lead("identity", rival),
                "a single map cannot tell slots apart; a leak, or a rival that did not learn, "
                "would pass",
            )
        },
        source="derived",
        headline=headline,
    )


def overhead(size: int) -> Callable[[Mapping[str, Any]], float]:
    """Share of maps and demultiplexer in the MACs per image."""
    return lambda values: values["tasks"][f"mlp, {size}"]["arms"]["orthogonal"]["facts"]["overhead"]


CLAIMS = (
    separable("M1", "orthogonal", "Orthogonal maps make the inputs of one pass separable."),
    separable("M1h", "hadamard", "Hadamard maps make the inputs of one pass separable."),
    bounded(
        "B1",
        "identity",
        1.0,
        "one point for the groupings of a finite test set; more is a leak",
        "With the same map for all inputs, accuracy stays within the bound for networks that "
        "cannot tell slots apart.",
    ),
    bounded(
        "B2",
        "shuffled",
        2.0,
        "two points, since the bound holds only in the mean over seeds",
        "With labels shuffled within groups, accuracy stays within the bound for networks that "
        "cannot tell slots apart.",
    ),
    declare.derive(
        "B3",
        "With labels shuffled over all groups, there is nothing to learn.",
        lambda task: 100 * (task["unlabelled"]["test_accuracy"] - 1 / CLASSES),
        quantity="accuracy - chance (points)",
        region=(-3.0, 3.0),
        reason="three points, a third of chance",
        fails={
            "shuffled": (
                lambda task: 100 * (task["shuffled"]["test_accuracy"] - 1 / CLASSES),
                "labels from the right group carry information, unless groups were mixed up",
            )
        },
        tasks=tuple(f"{backbone}, {n}" for backbone in BACKBONES for n in (2, 4, 8)),
        source="derived",
    ),
    declare.across(
        "M0",
        "A network with one input through a map is as accurate as the plain network.",
        from_plain("orthogonal", 1),
        quantity="accuracy, orthogonal at N = 1 - plain network (points)",
        region=(-2.0, 2.0),
        reason="half of the loss that counts as small at N = 2",
        fails={
            "identity": (
                from_plain("identity", 2),
                "two inputs that cannot be told apart are far worse; a test that saw only one "
                "would pass",
            )
        },
        tasks=("mlp",),  # mixing all pixels destroys the locality that convolutions need
        source="derived",
    ),
    declare.across(
        "M2a",
        "Two images per pass cost at most 4 points of accuracy, at equal passes.",
        fall(2),
        quantity="accuracy of orthogonal, N = 1 - N = 2 (points)",
        region=(-np.inf, 4.0),
        reason="the notebook loses 1.2 points, a pilot on digits 2.9",
        fails={"identity": (fall(2, "identity"), "it cannot tell slots apart; a leak would pass")},
        **CODE,
    ),
    declare.across(
        "M2b",
        "Sixteen images per pass cost at least 25 points of accuracy, at equal passes.",
        fall(16),
        quantity="accuracy of orthogonal, N = 1 - N = 16 (points)",
        region=(25.0, np.inf),
        reason="the notebook loses 45 points, an MLP in a pilot 36 at N = 8",
        fails={"two": (fall(2), "two inputs must not cost as much, or only one was learned")},
        **CODE,
    ),
    declare.across(
        "M2c",
        "Accuracy falls with every increase of images per pass, at equal passes.",
        least_fall(),
        quantity="smallest fall of orthogonal between neighbouring N (points)",
        region=ABOVE_ZERO,
        reason="monotone: every step of N counts",
        fails={"backwards": (least_fall(True), "sizes in the wrong order would pass")},
        **CODE,
    ),
    declare.slope(
        "M2",
        "An image network quickly loses accuracy with more images per pass, at equal passes.",
        lambda task: odds(task["orthogonal"]),
        quantity="log-odds of the accuracy of orthogonal",
        region=(-np.inf, -0.5),
        reason="0.5 per doubling takes 98% to 87% by N = 16; the bound for networks that cannot "
        "tell slots apart flattens the slope, which works against the claim",
        fails={
            "narrow": (
                lambda task: odds(task["narrow" if "narrow" in task else "plain"]),
                "one input at equal MACs: if it fell as fast, the loss would come from less "
                "compute, not from multiplexing",
            )
        },
        tasks=("mlp",),
        headline=True,
        **CODE | {"source": "paper"},
    ),
    declare.untestable(
        "M2t",
        "MLPs and CNNs lose accuracy sooner than Transformers.",
        "They are tested on images and Transformers on sequences, here as in the paper, so the "
        "slopes would compare tasks.",
        quantity="slope of an image network - slope of a Transformer",
        reported="to a much lesser extent",
        **ABSTRACT,
    ),
    declare.derive(
        "M2i",
        "At equal images, N inputs per pass lose more accuracy than at equal passes, which flatter "
        "large N.",
        lead("equal_images", "orthogonal"),
        quantity="log-odds, equal images - equal passes",
        region=BELOW_ZERO,
        reason="the sign says whether N times the images helped",
        fails={
            "identity": (
                lambda task: -lead("identity", "orthogonal")(task),
                "maps beat no maps; swapped arms or signs would pass",
            )
        },
        source="derived",
    ),
    declare.derive(
        "M2l",
        "Learned maps do better than fixed ones.",
        lead("learned", "orthogonal"),
        quantity="log-odds, learned - fixed orthogonal maps",
        region=ABOVE_ZERO,
        reason="the notebook mixes by learned maps; the sign says whether that matters",
        fails={
            "identity": (
                lead("identity", "orthogonal"),
                "a single map for all inputs must not do better; with a leak it would",
            )
        },
        source="derived",
    ),
    worth(
        "M6",
        "orthogonal",
        "narrow",
        "at equal inference MACs per image",
        "at equal MACs per image, maps and demultiplexer counted",
        headline=True,
    ),
    worth(
        "M6b",
        "orthogonal",
        "narrow_backbone",
        "if maps and demultiplexer count as free",
        "at equal MACs of the backbone only",
    ),
    worth(
        "M6h",
        "hadamard",
        "narrow_hadamard",
        "with Hadamard maps at equal inference MACs per image",
        "at equal MACs per image, Hadamard maps counted",
    ),
    declare.fact(
        "M6o",
        "At N = 16, maps and demultiplexer take most of the MACs per image.",
        overhead(16),
        quantity="share of maps and demultiplexer in the MACs per image",
        region=(0.5, 1.0),
        reason="more than half; the rival that pays for them is then far wider than d / sqrt(N)",
        fails={"two": (overhead(2), "at N = 2 the backbone takes most, unless it was not counted")},
    ),
    declare.slope(
        "M6s",
        "The gap between multiplexing and a narrow network of equal inference MACs grows with N.",
        lead("orthogonal", "narrow"),
        quantity="log-odds, orthogonal - narrow network",
        region=BELOW_ZERO,
        reason="the sign says whether the gap grows or fades; it differs from the loss by "
        "multiplexing alone only by the rival's own slope",
        fails={
            "rivals": (
                lead("narrow", "narrow_backbone"),
                "the rival matched on the backbone gets narrow sooner, so its gap grows; swapped "
                "rivals would pass",
            )
        },
        source="derived",
    ),
)


SHOWN = ("orthogonal", "equal_images", "hadamard", "identity", "narrow", "narrow_backbone")


def slots(shown: charts.Shown) -> Any:
    """Accuracy of the worst and the mean slot against N, with the bound."""
    from jaxtrends.study import Figure, Panel, Series

    panels = []
    for kind in dict.fromkeys(task["task"] for task in shown.tasks.values()):
        rungs = [task for task in shown.tasks.values() if task["task"] == kind]
        series = []
        for name in SHOWN:
            had = [rung for rung in rungs if name in rung["arms"]]
            for metric, words in (("test_accuracy", ""), ("test_worst_slot", ", worst slot")):
                if not had or (words and name != "orthogonal"):
                    continue
                lanes = [100 * np.asarray(rung["arms"][name]["metrics"][metric]) for rung in had]
                label = name.replace("_", " ") + words
                series.append(
                    charts.interval(label, [rung["size"] for rung in had], np.transpose(lanes))
                )
        sizes = [rung["size"] for rung in rungs]
        bound = [100 * method.floor(int(size), CLASSES) for size in sizes]
        series.append(Series("bound without slots", sizes, bound, style="theory"))
        panels.append(Panel(kind, shown.size, "test accuracy (%)", series, "log"))
    return Figure(
        "images-slots",
        "Accuracy per slot against inputs per pass",
        f"Accuracy on {TESTED} images, groups redrawn {method.REDRAWS} times: {charts.INTERVAL}. "
        "The bound is the best accuracy of a network that cannot tell slots apart.",
        panels,
    )


STUDY = Comparison(
    about="N images per pass: maps, bounds, and narrow rivals of equal inference MACs",
    arms={name: arm(name) for name in ARMS},
    metric="accuracy",
    better="higher",
    data=data,
    ladder="inputs",
    size="inputs per pass, N",
    claims=CLAIMS,
    figures=(
        slots,
        charts.climb(effect=("orthogonal", "narrow"), title="Multiplexed against narrow network"),
        charts.over(
            "steps", arms=("plain", "orthogonal", "equal_images", "narrow", "narrow_backbone")
        ),
    ),
    own=True,
)
