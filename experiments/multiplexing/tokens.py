"""A Transformer on token sequences: what N per pass costs, and whether a warm-up is needed.

The demultiplexer is the paper's: every sequence starts with N + 1 tokens that name its slot, and
the network's output at position i is joined with its output for the sequence to give slot i's
outputs. The stages are the paper's too: a warm-up on retrieval only (which token is at a position
of a slot), then the task with a tenth of that loss. Together they take as many steps as training
from scratch. One sequence per pass goes through the same code and stages: this is the like-for-like
baseline. The paper's headline compares with a plain Transformer trained from scratch, here
``plain``. A step makes the same number of passes for every N, so N per pass see N times the
sequences; there are also arms with equal sequences.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.multiplexing import method
from jaxtrends import charts, declare, losses, models
from jaxtrends.comparison import Arm, Comparison, Setting, splits
from jaxtrends.data import Dataset, Split
from jaxtrends.declare import ABOVE_ZERO, BELOW_ZERO, LadderView
from jaxtrends.errors import Problem
from jaxtrends.settings import Names, PositiveInt, Schedule, Sizes

VOCABULARY, LENGTH, START = 32, 16, 31
TRAINING, HELD_OUT = 32768, 1000  # sequences
CLASSES = {"majority": 4, "lookup": 8, "precedes": 2}

ARMS: dict[str, dict[str, Any]] = {
    "scratch": {},
    "plain": {"plain": True},  # one sequence: no prefix, no demultiplexer, only the task's loss
    "retrieval": {"stage": "warm-up"},
    "warmed": {"stage": "task", "after": "retrieval"},
    "identity": {"kind": "identity", "rate_of": "scratch"},
    "retrieval_equal": {"stage": "warm-up", "equal": True},
    "warmed_equal": {"stage": "task", "after": "retrieval_equal", "equal": True},
    "hadamard": {"kind": "hadamard"},
    "narrow": {"plain": True},
}
OF_ONE = ("plain", "retrieval", "warmed")  # the arms with one sequence per pass
OF_ALL = ("scratch", "plain", "retrieval", "warmed", "identity")  # the arms of every task


@dataclass(frozen=True)
class Tokens:
    """Token sequences, N per pass."""

    tasks: Names[CLASSES] = ("majority",)
    """Tasks: majority (the most frequent of four tokens), lookup (the value of a key), precedes
    (whether one token comes before another)."""
    arms: Names[ARMS] = ("scratch", "plain", "retrieval", "warmed")
    """Arms to train; tasks other than majority train only those for the warm-up and the bound."""
    inputs: Sizes = (1, 10)
    """Sequences per pass, N; 1 is the baseline."""
    layers: PositiveInt = 2
    """Layers of the Transformer."""
    width: PositiveInt = 64
    """Width of the Transformer."""
    heads: PositiveInt = 4
    """Attention heads; must divide --tokens.width."""
    groups: PositiveInt = 10
    """Passes per training step; an arm with equal sequences makes 1/N of them."""
    schedule: Schedule = field(
        default_factory=lambda: Schedule(
            steps=1600, log_every=80, grid=(4e-4, 2e-3, 1e-2), tuning_steps=800, tuning_seeds=1
        )
    )
    """How every arm is tuned and trained; warm-up and task take half the steps each."""

    def check(self, flag: str) -> None:
        """Refuse heads that do not divide the width, and stages that end between log points.

        Raises:
            Problem: names the flags.
        """
        if self.width % self.heads:
            raise Problem(
                f"--{flag}.width {self.width} is not divisible by --{flag}.heads {self.heads}."
            )
        if self.schedule.steps // 2 % self.schedule.log_every:
            raise Problem(
                f"Half of --{flag}.schedule.steps {self.schedule.steps} is not a multiple of "
                f"--{flag}.schedule.log-every {self.schedule.log_every}."
            )


# --- sequences -----------------------------------------------------------------------------------


def majority(draw: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Which of tokens 0 to 3 is the most frequent, among others; ties are left out."""
    shape = (2 * count, LENGTH - 1)
    tokens = np.where(draw.random(shape) < 0.5, draw.integers(4, size=shape), START)
    counts = (tokens[:, :, None] == np.arange(4)).sum(axis=1)
    single = np.flatnonzero((counts == counts.max(axis=1, keepdims=True)).sum(axis=1) == 1)[:count]
    others = draw.integers(4, START, size=shape)
    tokens = np.where(tokens == START, others, tokens)[single]
    return _begun(tokens, START), counts[single].argmax(axis=1)


def lookup(draw: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The value of the key asked for: that key, then seven pairs, then a stop token."""
    pairs = (LENGTH - 2) // 2
    keys = draw.random((count, 16)).argsort(axis=1)[:, :pairs]
    values = draw.integers(8, size=keys.shape)
    asked = draw.integers(pairs, size=(count, 1))
    tokens = np.full((count, LENGTH - 1), START)
    tokens[:, 0:-1:2], tokens[:, 1:-1:2] = keys, 16 + values
    chosen = [np.take_along_axis(part, asked, axis=1)[:, 0] for part in (keys, values)]
    return _begun(tokens, chosen[0]), chosen[1]


def precedes(draw: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Whether token 0 comes before token 1; each occurs once."""
    tokens = draw.integers(2, START, size=(count, LENGTH - 1))
    places = draw.random(tokens.shape).argsort(axis=1)[:, :2]
    np.put_along_axis(tokens, places, np.array([[0, 1]]), axis=1)
    return _begun(tokens, START), places[:, 0] < places[:, 1]


def _begun(tokens: np.ndarray, first: Any) -> np.ndarray:
    begins = np.broadcast_to(first, tokens.shape[0])[:, None]
    return np.concatenate([begins, tokens], axis=1)


RULES = {"majority": majority, "lookup": lookup, "precedes": precedes}


def load(name: str) -> Dataset:
    """Sequences of a task, (n, LENGTH) int32 tokens below VOCABULARY, the same on every machine."""
    draw = np.random.default_rng([2202, 9318, list(RULES).index(name)])
    found, digest = {}, hashlib.sha256()
    for split, count in (("train", TRAINING), ("validation", HELD_OUT), ("test", HELD_OUT)):
        inputs, labels = (part.astype(np.int32) for part in RULES[name](draw, count))
        digest.update(inputs.tobytes() + labels.tobytes())
        found[split] = Split(inputs, labels)
    about = RULES[name].__doc__.partition(":")[0].partition(";")[0].partition(".")[0]
    return Dataset(
        name,
        "1.0.0",
        digest.hexdigest(),
        CLASSES[name],
        **found,
        licence="CC0: synthetic",
        origin=f"{about}, in synthetic sequences.",
    )


# --- the network ---------------------------------------------------------------------------------


@functools.cache
def network(
    inputs: int,
    width: int,
    heads: int,
    layers: int,
    classes: int,
    length: int = LENGTH,
    plain: bool = False,
) -> method.Network:
    """A pre-norm encoder between the multiplexer and the index demultiplexer.

    A ``plain`` one takes a single sequence without a map, and does no retrieval.
    """
    from flax import nnx

    def linear(fan_in: int, fan_out: int, rngs: nnx.Rngs) -> nnx.Linear:
        return nnx.Linear(fan_in, fan_out, use_bias=False, rngs=rngs)

    class Layer(nnx.Module):
        def __init__(self, rngs: nnx.Rngs) -> None:
            self.first, self.second = (nnx.LayerNorm(width, rngs=rngs) for _ in range(2))
            self.into, self.out = linear(width, 3 * width, rngs), linear(width, width, rngs)
            self.up, self.down = linear(width, 2 * width, rngs), linear(2 * width, width, rngs)

        def __call__(self, x: jax.Array) -> jax.Array:
            parts = self.into(self.first(x)).reshape(*x.shape[:2], 3, heads, -1)
            query, key, value = (parts[:, :, part] for part in range(3))
            scores = jnp.einsum("gqhd,gkhd->ghqk", query, key) / (width // heads) ** 0.5
            mixed = jnp.einsum("ghqk,gkhd->gqhd", jax.nn.softmax(scores), value)
            x = x + self.out(mixed.reshape(x.shape))
            return x + self.down(nnx.gelu(self.up(self.second(x))))

    class Multiplexed(nnx.Module):
        def __init__(self, rngs: nnx.Rngs) -> None:
            prefix = 0 if plain else inputs + 1
            self.tokens = nnx.Embed(VOCABULARY + prefix, width, rngs=rngs)
            self.places = nnx.Embed(prefix + length, width, rngs=rngs)
            self.layers = nnx.List(Layer(rngs) for _ in range(layers))
            self.norm = nnx.LayerNorm(width, rngs=rngs)
            self.output = nnx.Linear(width, classes, rngs=rngs)
            if not plain:
                self.apart = nnx.Linear(2 * width, width, rngs=rngs)
                self.apart_norm = nnx.LayerNorm(width, rngs=rngs)
                self.retrieved = nnx.Linear(width, VOCABULARY, rngs=rngs)

        def slot(self, named: jax.Array, hidden: jax.Array) -> jax.Array:
            named, hidden = jnp.broadcast_arrays(named, hidden)
            both = jnp.concatenate([named, hidden], axis=-1)
            return self.apart_norm(nnx.gelu(self.apart(both)))

        def __call__(self, given: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
            matrices, tokens, asked = given
            whole = tokens if plain else prefixed(tokens)
            table = self.tokens.embedding[...]
            # Mapping the table of embeddings is cheaper than mapping every embedding.
            table = table[None] if plain else jnp.einsum("nij,vj->nvi", matrices, table)
            chosen = jax.nn.one_hot(whole, table.shape[1], dtype=table.dtype)
            x = jnp.einsum("gnlv,nvd->gld", chosen, table) * (width / inputs) ** 0.5
            x = x + self.places.embedding[...] * width**0.5
            for layer in self.layers:
                x = layer(x)
            x = self.norm(x)
            if plain:
                return self.output(x[:, :1]), jnp.zeros((*x.shape[:2], VOCABULARY)), asked
            named, hidden = x[:, :inputs], x[:, inputs + 1 :]
            logits = self.output(self.slot(named, hidden[:, :1]))
            one = jnp.take_along_axis(named, asked[:, None, None], axis=1)
            return logits, self.retrieved(self.slot(one, hidden)), asked

    model = models.from_nnx(Multiplexed)

    def apply(params: Any, matrices: jax.Array, tokens: jax.Array, key: jax.Array) -> Any:
        asked = jax.random.randint(key, tokens.shape[:1], 0, inputs, jnp.int32)
        return model.apply(params, (matrices, tokens, asked))

    def wanted(outputs: Any, tokens: jax.Array) -> jax.Array:
        return jnp.take_along_axis(tokens, outputs[2][:, None, None], axis=1)[:, 0]

    def loss(lane: Any, outputs: Any, tokens: jax.Array, labels: jax.Array) -> jax.Array:
        retrieval = losses.cross_entropy(outputs[1], wanted(outputs, tokens))
        task = losses.cross_entropy(outputs[0], labels)
        return (1 - lane["retrieval"]) * task + lane["retrieval"] * retrieval

    def watch(outputs: Any, tokens: jax.Array) -> Mapping[str, jax.Array]:
        right = jnp.argmax(outputs[1], axis=-1) == wanted(outputs, tokens)
        return {"retrieval": jnp.mean(right.astype(jnp.float32))}

    return method.Network(method.initialiser(model), width, apply, loss, watch)


def prefixed(tokens: jax.Array) -> jax.Array:
    """Sequences (groups, N, L) with N + 1 tokens before each, (groups, N, N + 1 + L).

    Sequence i has its own token, VOCABULARY + i, at position i, and VOCABULARY + N elsewhere.
    """
    groups, inputs, _ = tokens.shape
    slots = VOCABULARY + jnp.arange(inputs, dtype=jnp.int32)
    own = jnp.arange(inputs + 1) == jnp.arange(inputs)[:, None]
    prefix = jnp.where(own, slots[:, None], jnp.int32(VOCABULARY + inputs))
    return jnp.concatenate([jnp.broadcast_to(prefix, (groups, *prefix.shape)), tokens], axis=-1)


def macs(inputs: int, width: int, layers: int, length: int = LENGTH, plain: bool = False) -> float:
    """MACs per sequence of its share of a forward pass: layers, attention and demultiplexer.

    Maps are fixed, so the tables of mapped embeddings are made once and cost a sequence nothing.
    """
    places = length + (0 if plain else inputs + 1)
    layer = 8 * width**2 * places + 2 * places**2 * width
    return layers * layer / inputs + (0 if plain else 2 * width**2)


trainer = functools.cache(method.trainer)


def rival(inputs: int, width: int, layers: int) -> int:
    """The even width of a plain network whose MACs per sequence are closest to N per pass."""
    target = macs(inputs, width, layers)
    return min(range(2, 2 * width, 2), key=lambda w: abs(macs(1, w, layers, plain=True) - target))


def arm(name: str) -> Callable[[Setting], Arm | None]:
    """One arm of the study; it is None for tasks and numbers of inputs that it does not cover."""
    about = ARMS[name]

    def make(setting: Setting) -> Arm | None:
        part, count = setting.part, int(setting.size)
        if (count == 1 and name not in OF_ONE) or (count > 1 and name == "plain"):
            return None
        if setting.task != "majority" and name not in OF_ALL:
            return None
        inputs, width, heads, groups = count, part.width, part.heads, part.groups
        plain, stage = about.get("plain", False), about.get("stage", "")
        if name == "narrow":
            inputs, groups, width = 1, groups * count, rival(count, width, part.layers)
            heads = heads if width % heads == 0 else 2
        elif "equal" in about:
            groups = max(1, groups // count)
        made = network(inputs, width, heads, part.layers, CLASSES[setting.task], plain=plain)
        return Arm(
            trainer(made, inputs, groups),
            method.numbers(
                about.get("kind", "orthogonal"),
                retrieval=0.0 if plain else 1.0 if stage == "warm-up" else 0.1,
            ),
            {
                "parameters": models.count_parameters(jax.eval_shape(made.init, jax.random.key(0))),
                "width": width,
                "MACs a sequence": round(macs(inputs, width, part.layers, plain=plain)),
                "sequences a step": groups * inputs,
            },
            steps=part.schedule.steps // 2 if stage else 0,
            rate_of=about.get("rate_of", ""),
            after=about.get("after", ""),
            metric="retrieval" if stage == "warm-up" else "",
        )

    return make


# --- claims --------------------------------------------------------------------------------------

FIGURE = {"where": "project page, figure of MNLI accuracy", "known": "figure"}
LEARNT = 0.9  # share of tokens retrieved from which a warm-up counts as learned


def points(name: str, over: str, at: int = 10) -> Callable[[LadderView], np.ndarray]:
    """Points of accuracy of an arm at N over an arm with one sequence per pass."""
    return lambda ladder: (
        100 * (ladder[at][name]["test_accuracy"] - ladder[1][over]["test_accuracy"])
    )


def odds(arm: Any) -> np.ndarray:
    """Log-odds of the test accuracy, seed by seed."""
    return method.log_odds(arm["test_accuracy"], HELD_OUT)


def lead(name: str, over: str) -> declare.Quantity:
    """Difference in log-odds."""
    return lambda task: odds(task[name]) - odds(task[over])


def above_bound(name: str) -> declare.Quantity:
    """Points of accuracy above the bound of a network that cannot tell slots apart."""

    def value(task: declare.TaskView) -> np.ndarray:
        bound = method.floor(int(task.size), CLASSES[task.of("task")])
        return 100 * (task[name]["test_accuracy"] - bound)

    return value


def not_learnt(task: declare.TaskView) -> str:
    """Why a warm-up cannot be judged: it has not learned, or an arm is still learning."""
    share = task["retrieval"]["validation_retrieval"].mean()
    learnt = "" if share >= LEARNT else f"the warm-up retrieves only {share:.0%} of tokens"
    return "; ".join(filter(None, (learnt, method.climbing(task["warmed"], task["scratch"]))))


def small_loss(
    id: str,
    name: str,
    base: str,
    words: str,
    reported: str = "",
    tasks: tuple[str, ...] = ("majority",),
    headline: bool = False,
) -> declare.Claim:
    """M4, for one arm at N = 10 against a baseline at N = 1."""
    told = FIGURE if reported else {"source": "derived"}
    return declare.across(
        id,
        f"Ten sequences per pass lose less than 4 points of accuracy against {words}.",
        points(name, base),
        quantity=f"accuracy, {name} at N = 10 - {base} at N = 1 (points)",
        region=(-4.0, np.inf),
        reason="the paper's own figure for a small loss at N = 40: less than 4%",
        fails={
            "retrieval": (
                points("retrieval", base),
                "the warm-up alone has never seen the task; leaked labels, or a task without "
                "headroom, would let it pass",
            )
        },
        doubt=lambda ladder: method.climbing(ladder[10][name], ladder[1][base]),
        tasks=tasks,
        reported=reported,
        headline=headline,
        **told,
    )


def multiplexed_slope(value: declare.Quantity) -> declare.Quantity:
    """A quantity at N above 1 only: one sequence per pass is at the ceiling."""

    def effect(task: declare.TaskView) -> Any:
        if task.size < 2:
            raise KeyError("several sequences per pass")
        return value(task)

    return effect


CLAIMS = (
    small_loss(
        "M4",
        "warmed",
        "warmed",
        "one with the same warm-up, at equal passes",
        "64.5 at N = 1; at 10 Hadamard 59.4, orthogonal 56.3 (MNLI, %)",
        headline=True,
    ),
    small_loss(
        "M4o",
        "warmed",
        "warmed",
        "one with the same warm-up, on two other tasks",
        tasks=("lookup", "precedes"),
    ),
    small_loss(
        "M4b",
        "warmed",
        "plain",
        "a plain Transformer trained from scratch",
        "59.6 at N = 1; at 10 Hadamard 59.4, orthogonal 56.3 (MNLI, %)",
    ),
    small_loss(
        "M4h", "hadamard", "plain", "a plain Transformer, with Hadamard maps and no warm-up"
    ),
    small_loss("M4e", "warmed_equal", "warmed", "one with the same warm-up, at equal sequences"),
    declare.slope(
        "M4s",
        "From two sequences per pass on, the loss of accuracy grows with their number.",
        multiplexed_slope(lambda task: odds(task["warmed"])),
        quantity="log-odds of the accuracy after a warm-up",
        region=BELOW_ZERO,
        reason="the sign says whether the loss grows or fades; a ceiling at N = 2, or the bound "
        "for networks that cannot tell slots apart at N = 10, flattens the slope, which works "
        "against the claim",
        fails={
            "retrieval": (
                multiplexed_slope(lead("retrieval", "warmed")),
                "an arm that has never seen the task does not fall, so the gap to it closes; sizes "
                "in the wrong order, or leaked labels, would pass",
            )
        },
        tasks=("majority",),
        source="derived",
    ),
    declare.derive(
        "M5",
        "A retrieval warm-up is needed: spending half the steps on it beats training only on the "
        "task.",
        lead("warmed", "scratch"),
        quantity="log-odds, with warm-up - from scratch, at equal total steps",
        region=ABOVE_ZERO,
        reason="if it is needed to converge, it must at least help",
        fails={
            "retrieval": (
                lead("retrieval", "scratch"),
                "the warm-up alone has never seen the task; leaked labels would let it pass",
            )
        },
        doubt=not_learnt,
        tasks=tuple(f"{task}, {n}" for task in CLASSES for n in (2, 5, 10)),
        where="restated by others",
        known="secondary",
    ),
    declare.derive(
        "M5b",
        "With the same map for all sequences, accuracy stays within the bound for networks that "
        "cannot tell slots apart.",
        above_bound("identity"),
        quantity="accuracy of identity - bound of a symmetric network (points)",
        region=(-10.0, 1.5),
        reason="classes are balanced to about a point, and more is a leak; ten points below the "
        "bound, the network has not learned",
        fails={
            "scratch": (
                above_bound("scratch"),
                "a network that tells sequences apart is above the bound",
            )
        },
        tasks=tuple(f"{task}, {n}" for task in CLASSES for n in (2, 5)),
        source="derived",
    ),
    declare.derive(
        "M6t",
        "A multiplexed Transformer beats a narrow one of equal inference MACs per sequence.",
        lead("warmed", "narrow"),
        quantity="log-odds, with warm-up - narrow network, at equal total steps",
        region=ABOVE_ZERO,
        reason="the sign says which of two networks of equal cost to choose",
        fails={
            "identity": (
                lead("identity", "narrow"),
                "it cannot tell sequences apart; a leak, or an untrained rival, would pass",
            )
        },
        doubt=lambda task: method.climbing(task["warmed"], task["narrow"]),
        source="derived",
    ),
)

STUDY = Comparison(
    about="a Transformer with N sequences per pass, with and without a retrieval warm-up",
    arms={name: arm(name) for name in ARMS},
    metric="accuracy",
    better="higher",
    data=lambda setting, run: method.with_orders(splits(setting, run)),
    ladder="inputs",
    size="sequences per pass, N",
    claims=CLAIMS,
    more=("test_worst_slot", "late_gain"),
    also=method.late_gains,
    figures=(
        charts.climb(
            effect=("warmed", "scratch"),
            title="A Transformer's accuracy against sequences per pass",
        ),
        charts.over("steps", arms=("scratch", "plain", "warmed", "narrow")),
        charts.over("steps", metric="validation_retrieval", arms=("retrieval", "scratch")),
    ),
    own=True,
)
