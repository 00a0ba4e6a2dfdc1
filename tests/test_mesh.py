"""One lane over four devices: the same training up to rounding, shared out in fact."""

import json
import math
import subprocess
import sys

import pytest

from jaxtrends import publish, record, transformer
from jaxtrends.errors import Problem
from jaxtrends.experiment import discover
from jaxtrends.flags import mesh_of, parse
from jaxtrends.moe import Mixture
from jaxtrends.transformer import Transformer

SETTING = """
import json, sys
from pathlib import Path
import jax, jax.numpy as jnp, numpy as np
from jaxtrends import estimators, mesh, optimizers, sequences, sweep, train, transformer
from jaxtrends.checkpoint import Checkpoints
from jaxtrends.moe import Mixture
from jaxtrends.transformer import Transformer

jax.config.update("jax_num_cpu_devices", 4)
jax.config.update("jax_numpy_dtype_promotion", "strict")
sizes = Transformer(
    vocabulary=sequences.SYMBOLS + 2, context=8, width=16, heads=2, hidden=16, experts=(8,),
    mixture=Mixture(capacity_factor=0.75), group=16,
)
shared = []  # of logits, as they are compiled: sequences in all, and on one device

def watched(outputs, labels):
    logits = jax.tree.leaves(outputs)[0]

    def note(sharding):
        shared.append((logits.shape[0], sharding.shard_shape(logits.shape)[0]))

    jax.debug.inspect_array_sharding(logits, callback=note)
    return transformer.language_loss(0.01, 0.001)(outputs, labels)

trainer = train.supervised(
    transformer.transformer(sizes),
    watched,
    {"dropped": transformer.router_metrics()["dropped"]},
    estimators.backprop, optimizers.adam(2), 16,
)
found = sequences.lookup(clusters=2, context=8, training=64, held_out=16, seed=0)
data = {
    name: (np.asarray(part.inputs[:count]), np.asarray(part.labels[:count]))
    for name, part, count in (
        ("train", found.train, 64), ("validation", found.validation, 16), ("test", found.test, 16)
    )
}

def trained(shape, lanes=1, block=1, **effects):
    over = None if shape is None else mesh.make(*shape, jax.devices()[: shape[0] * shape[1]])
    mine = trainer if over is None else mesh.spread(trainer)
    where = jax.devices()[:1] if over is None else [mesh.everywhere(over)]
    rows = {
        "seed": np.arange(lanes, dtype=np.uint32),
        "learning_rate": np.full(lanes, 1e-2, np.float32),
    }
    with mesh.over(over):
        return sweep.run(
            mine, rows, data, steps=12, log_every=2, block=block, devices=where,
            effects=sweep.Effects(**effects),
        )

def gap(one, other):
    return max(float(np.abs(one[name] - other[name]).max()) for name in one)

said = {}
"""

SHARED = """
alone = trained(None, lanes=2)
assert alone["validation_dropped"].max() > 0
said["spread"] = gap(alone, trained((2, 2), lanes=2))
said["two lanes in a block"] = gap(alone, trained((2, 1), lanes=2, block=2))
print(json.dumps(said))
"""

RESUMED = """
folder = Path(sys.argv[1])
saved = Checkpoints(folder)

def stop(segment, taken):
    for take in taken.values():
        tree = take()
        leaves = jax.tree_util.tree_leaves_with_path(tree["state"])
        stacks = [x for p, x in leaves if "feed_forward" in jax.tree_util.keystr(p) and x.ndim == 4]
        said["stacks"] = len(stacks)  # up and down, of the parameters and twice in Adam's memory
        said["parts"] = sorted({leaf.addressable_shards[0].data.shape[1] for leaf in stacks})
        said["whole"] = sorted({leaf.shape[1] for leaf in stacks})
        if int(tree["point"]) == 3:
            saved.save(3, tree)

whole = trained((2, 2), stop=stop)
saved.close()
said["logits"] = sorted(set(shared))

def resumed(shape):
    return trained(shape, restore=lambda block, like: Checkpoints(folder).restore(like)[1])

for shape in ((2, 2), None):
    said[str(shape)] = gap(whole, resumed(shape))
print(json.dumps(said))
"""


def _said(script, *arguments):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", SETTING + script, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_training_over_a_mesh_equals_training_on_one_device_with_the_same_groups():
    gaps = _said(SHARED)
    assert len(gaps) == 2
    assert max(gaps.values()) < 1e-3, gaps
    assert min(gaps.values()) > 0  # sums in another order: it was another program


def test_parts_lie_where_the_mesh_says_and_a_checkpoint_goes_on_over_another(tmp_path):
    said = _said(RESUMED, tmp_path)
    assert said["stacks"] == 6
    assert (said["parts"], said["whole"]) == ([4], [8])
    assert said["logits"] == [[16, 4]]  # no device sees the whole batch's
    assert said["(2, 2)"] == 0  # to the bit
    assert 0 < said["None"] < 1e-3


@pytest.mark.parametrize(
    ("sequences", "group", "data", "expert", "words"),
    [
        (6, 8, 4, 1, "6 sequences per batch cannot be split evenly over 4 devices"),
        (8, 0, 2, 1, "1 routing group, which cannot be split evenly over 2 devices"),
        (8, 16, 4, 2, "4 routing groups, which cannot be split evenly over 8 devices"),
        (6, 8, 1, 3, "4 experts cannot be split evenly over 3 devices"),
    ],
)
def test_what_does_not_divide_is_refused(sequences, group, data, expert, words):
    sizes = Transformer(vocabulary=9, context=8, experts=(0, 4), mixture=Mixture(), group=group)
    with pytest.raises(Problem, match=words):
        transformer.check_mesh(sizes, sequences, data, expert)


def test_a_dense_network_needs_no_groups():
    sizes = Transformer(vocabulary=9, context=8, experts=(0, 0))
    transformer.check_mesh(sizes, 8, 4, 2)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "4",
        "data",
        "data=",
        "data=0",
        "model=2",
        "data=2,data=2",
        "data=2;expert=2",
        "expert=99999",
    ],
)
def test_a_mesh_that_is_none_is_refused(text):
    with pytest.raises(Problem, match="--mesh must be like data=2,expert=4"):
        mesh_of(text)


def test_an_axis_left_out_has_one_device():
    assert mesh_of("expert=4") == (1, 4)
    assert mesh_of("data=2") == (2, 1)
    assert mesh_of("expert=4,data=2") == (2, 4)


@pytest.mark.parametrize(
    ("name", "flags", "words"),
    [
        ("forward_grad", ["--mesh", "data=2"], "too small to spread"),
        ("moe_scaling", ["--mesh", "data=2", "--devices", "4"], "takes 2 devices"),
        ("moe_scaling", ["--mesh", "data=2"], "compute_to_quality, lookup moe_16: A batch has 1"),
        ("moe_design", ["--mesh", "expert=3"], "does not fit z_loss: 32 sequences per batch"),
    ],
)
def test_flags_that_do_not_fit_are_refused_before_anything_is_run(name, flags, words):
    with pytest.raises(Problem, match=words):
        parse(discover()[name], flags)


def test_an_experiment_runs_over_a_mesh_and_its_record_says_so(tmp_path):
    flags = ["--preset", "smoke", "--studies", "layout", "--seeds", "1", "--mesh", "data=2"]
    flags += ["--layout.schedule.groups", "2", "--output", str(tmp_path / "run")]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "experiments.moe_scaling", *flags],
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    made = record.read(tmp_path / "run")
    for device in (made["provenance"]["device"], made["provenance"]["code"]["layout"]["device"]):
        assert (device["count"], device["mesh"]) == (2, {"data": 2, "expert": 1})
    assert "a lane spread over data 2, expert 1" in publish.device_text(device)
    assert "--mesh data=2" in made["provenance"]["command"]  # it changes rounding
    task = made["results"]["studies"]["layout"]["values"]["tasks"]["two_names"]
    [loss] = task["arms"]["pyramid_residual"]["metrics"]["validation_cross_entropy"]
    assert 0 < loss < math.log(64)
