"""The method of multiplexing, against oracles."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import linalg

from experiments import multiplexing
from experiments.multiplexing import images, method, throughput, tokens
from jaxtrends import data, estimators, flops, losses, models, optimizers, sweep, train, tuning
from jaxtrends.comparison import Setting
from tests.plain_run import PlainRun

KEY = jax.random.key(3)


def matrices(kind, inputs, width):
    return np.asarray(method.maps(np.int32(method.MAPS[kind]), KEY, inputs, width))


def test_orthogonal_maps_are_the_polar_factors_of_gaussian_matrices():
    found = matrices("orthogonal", 4, 64)
    drawn = np.asarray(jax.random.normal(KEY, (4, 64, 64)), np.float64)
    expected = [linalg.polar(one)[0] for one in drawn]
    np.testing.assert_allclose(found, expected, atol=2e-4)
    np.testing.assert_allclose(found @ found.transpose(0, 2, 1), [np.eye(64)] * 4, atol=1e-5)


def test_orthogonal_maps_have_the_moments_of_haars_law():
    """E tr Q = 0 and E (tr Q)^2 = 1 (Diaconis and Shahshahani 1994)."""
    traces = np.trace(matrices("orthogonal", 2000, 4), axis1=1, axis2=2)
    assert abs(traces.mean()) < 4 / np.sqrt(2000)
    assert abs((traces**2).mean() - 1) < 0.15


def test_a_mix_is_the_mean_of_mapped_inputs_times_the_root_of_their_number():
    given = np.asarray(jax.random.normal(KEY, (5, 3, 8)))
    for kind in method.MAPS:
        maps = matrices(kind, 3, 8)
        expected = [sum(maps[i] @ group[i] for i in range(3)) / 3 * 3**0.5 for group in given]
        np.testing.assert_allclose(method.mix(maps, given), expected, atol=1e-5)
    np.testing.assert_allclose((matrices("hadamard", 3, 8) ** 2).sum(axis=(1, 2)), 8, rtol=1e-5)


@pytest.mark.parametrize("inputs", [2, 4, 8])
def test_a_matched_filter_errs_by_n_minus_one_times_the_signal(inputs):
    maps = matrices("orthogonal", inputs, 64)
    given = np.asarray(jax.random.normal(KEY, (400, inputs, 64)))
    mixed = np.asarray(method.mix(maps, given))
    recovered = np.sqrt(inputs) * mixed @ maps[0]
    error = ((recovered - given[:, 0]) ** 2).mean() / (given[:, 0] ** 2).mean()
    assert abs(error / (inputs - 1) - 1) < 0.05


def test_the_bound_of_a_slot_is_that_of_all_groups_counted():
    for inputs, classes in ((2, 10), (3, 4), (5, 3), (4, 2)):
        groups = itertools.product(range(classes), repeat=inputs)
        largest = [max(group.count(c) for c in group) for group in groups]
        np.testing.assert_allclose(method.floor(inputs, classes), np.mean(largest) / inputs)
    found = [method.floor(n, 10) for n in (1, 2, 4, 8, 16)]
    np.testing.assert_allclose(found, [1, 0.551, 0.384, 0.300, 0.236], atol=0.0015)


def test_labels_are_turned_in_their_groups_so_that_a_slot_sees_all_of_them_alike():
    labels = jnp.arange(64 * 4).reshape(64, 4)
    within = np.asarray(method.shuffle(np.int32(method.IN_GROUPS), jnp.int32(5), labels))
    assert (np.sort(within, axis=1) == np.asarray(labels)).all()
    assert (np.bincount((within % 4)[:, 0]) == 16).all()
    others = np.asarray(method.shuffle(np.int32(method.OVERALL), jnp.int32(5), labels))
    assert not (others // 4 == np.arange(64)[:, None]).any()
    same = method.shuffle(np.int32(method.LEFT_ALONE), jnp.int32(5), labels)
    assert (np.asarray(same) == np.asarray(labels)).all()


def study(task, size, part):
    found = {"digits": data.load("digits")}
    run = PlainRun("images", found)
    setting = Setting(None, part, task, float(size))
    return setting, images.data(setting, run)


SMALL = images.Images(width=16, slot=8, groups=8)


def test_one_input_through_the_multiplexer_is_the_plain_network_trained_by_itself():
    setting, splits = study("mlp", 1, SMALL)
    arm = images.arm("plain")(setting)
    sizing = images.Sizing("mlp", 1, 16, 8, 8)
    through = images.trainer(images.network(sizing), 1, 8)  # an identity map, as others go through

    def plain(params, batch):  # no map, no slots
        hidden = batch.reshape(-1, 64)
        for name in ("0", "1"):
            layer = params["dense"][name]
            hidden = jax.nn.relu(hidden @ layer["kernel"] + layer["bias"])
        each = hidden @ params["slots"][0]
        centred = each - each.mean(axis=-1, keepdims=True)
        each = centred / jnp.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-6)
        each = jax.nn.relu(each * params["norm"]["scale"] + params["norm"]["bias"])
        return each @ params["output"]["kernel"] + params["output"]["bias"]

    alone = train.supervised(
        models.Model(images.network(sizing).init, plain),
        losses.cross_entropy,
        {"accuracy": losses.accuracy},
        estimators.backprop,
        optimizers.adam(20),
        batch_size=8,
    )
    lanes = tuning.lanes([3e-3], [7], arm.numbers)
    how = {"steps": 60, "log_every": 20, "block": 1}
    ours = sweep.run(arm.trainer, lanes, splits, **how)
    mapped = sweep.run(through, lanes, splits, **how)
    np.testing.assert_allclose(ours["training_loss"], mapped["training_loss"], rtol=1e-5)
    theirs = sweep.run(alone, tuning.lanes([3e-3], [7]), splits, **how)
    np.testing.assert_allclose(ours["training_loss"], theirs["training_loss"], rtol=1e-4)
    np.testing.assert_allclose(ours["test_accuracy"], theirs["test_accuracy"], atol=1e-6)
    assert ours["test_worst_slot"] == ours["test_accuracy"] > 0.2  # and it learns


def test_products_are_those_of_the_programs():
    for backbone, inputs in (("mlp", 4), ("cnn", 2)):
        sizing = images.Sizing(backbone, inputs, 16, 4, 8)
        made = images.network(sizing)
        params = jax.eval_shape(made.init, KEY)
        shapes = [jax.ShapeDtypeStruct(s, np.float32) for s in ((inputs, 64, 64), (1, inputs, 64))]
        counted = flops.count(lambda p, m, x, made=made: made.apply(p, m, x, KEY), params, *shapes)
        assert counted / 2 / inputs == sizing.macs("orthogonal")
        assert sizing.parameters == sum(leaf.size for leaf in jax.tree.leaves(params))


def test_rivals_have_the_arithmetic_of_the_multiplexed_network():
    part, widths = images.Images(inputs=(2, 4, 8, 16)), []
    for size in part.inputs:
        setting = Setting(None, part, "mlp", float(size))
        facts = {name: images.arm(name)(setting).facts for name in images.ARMS if name != "plain"}
        for name, rival in (("orthogonal", "narrow"), ("hadamard", "narrow_hadamard")):
            macs = [facts[arm]["MACs an image"] for arm in (name, rival)]
            assert abs(macs[1] / macs[0] - 1) < 0.015
            assert facts[rival]["images a step"] == facts[name]["images a step"]
        assert facts["equal_images"]["images a step"] == part.groups
        widths.append(facts["narrow_backbone"]["width"])
    assert widths == [83, 53, 32, 19]
    assert facts["orthogonal"]["overhead"] == round(8512 / 10048, 2)


def test_a_narrow_transformer_has_the_arithmetic_of_the_multiplexed_one():
    part = tokens.Tokens()
    for size in (2, 5, 10):
        setting = Setting(None, part, "majority", float(size))
        facts = [tokens.arm(name)(setting).facts for name in ("warmed", "narrow")]
        assert abs(facts[1]["MACs a sequence"] / facts[0]["MACs a sequence"] - 1) < 0.06
        assert facts[1]["sequences a step"] == facts[0]["sequences a step"]
        equal = tokens.arm("warmed_equal")(setting).facts
        assert equal["sequences a step"] == part.groups


def test_products_of_a_layer_of_the_transformer_are_those_of_the_program():
    for inputs, plain in ((3, False), (1, True)):
        counted = []
        for layers in (1, 2):
            made = tokens.network(inputs, 16, 4, layers, 4, plain=plain)
            params = jax.eval_shape(made.init, KEY)
            shapes = [
                jax.ShapeDtypeStruct((inputs, 16, 16), np.float32),
                jax.ShapeDtypeStruct((1, inputs, 16), np.int32),
            ]
            counted.append(
                flops.count(lambda p, m, x, made=made: made.apply(p, m, x, KEY), params, *shapes)
            )
        expected = [tokens.macs(inputs, 16, layers, plain=plain) for layers in (1, 2)]
        assert np.diff(counted) / 2 / inputs == pytest.approx(np.diff(expected))


def test_a_second_stage_sees_other_batches_than_the_first():
    part = tokens.Tokens(width=8, heads=2, layers=1, groups=4)
    made = tokens.arm("warmed")(Setting(None, part, "majority", 2.0))
    lane = {"seed": np.int32(1), "learning_rate": np.float32(1e-3)}
    lane |= {name: np.asarray(value) for name, value in made.numbers.items()}
    first = jax.eval_shape(made.trainer.init, lane, None)
    start = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), first["params"])
    states = [made.trainer.init(one, None) for one in (lane, {**lane, "start": start})]
    assert int(states[0]["step"]) == 0
    assert int(states[1]["step"]) > part.schedule.steps


def test_an_arm_that_still_climbs_does_not_decide():
    flat, steep = np.full((3, 20), 0.8), np.tile(np.linspace(0.4, 0.9, 20), (3, 1))
    curves = {"flat/validation_accuracy": flat, "steep/validation_accuracy": steep}
    found = method.late_gains({}, {**curves, "steep/training_loss": steep})["arms"]
    np.testing.assert_allclose(found["steep"]["late_gain"], 100 * 2 * 0.5 / 19)
    assert method.climbing(found["flat"]) == ""
    assert "by 5.3 points" in method.climbing(found["flat"], found["steep"])


def test_a_sequence_names_its_slot_and_mixes_as_its_mapped_embeddings_do():
    given = jnp.asarray([[[3, 4], [5, 6]]], jnp.int32)
    prefixed = np.asarray(tokens.prefixed(given))
    v = tokens.VOCABULARY
    assert prefixed.tolist() == [[[v, v + 2, v + 2, 3, 4], [v + 2, v + 1, v + 2, 5, 6]]]
    maps, table = matrices("orthogonal", 2, 8), np.asarray(jax.random.normal(KEY, (v + 3, 8)))
    direct = method.mix(maps, table[prefixed])
    mapped = np.einsum("nij,vj->nvi", maps, table)
    looked_up = sum(mapped[i][prefixed[:, i]] for i in range(2)) / np.sqrt(2)
    np.testing.assert_allclose(direct, looked_up, atol=1e-5)


def test_the_retrieval_loss_asks_for_the_tokens_of_the_slot_that_was_drawn():
    made = tokens.network(3, 16, 4, 1, 4)
    params = made.init(KEY)
    given = jnp.asarray(np.random.default_rng(0).integers(31, size=(6, 3, 16)), jnp.int32)
    labels = jnp.zeros((6, 3), jnp.int32)
    logits, retrieved, asked = made.apply(params, matrices("orthogonal", 3, 16), given, KEY)
    assert logits.shape == (6, 3, 4)
    assert len(set(np.asarray(asked).tolist())) > 1
    wanted = np.stack([given[g, slot] for g, slot in enumerate(np.asarray(asked))])
    expected = losses.cross_entropy(retrieved, wanted)
    outputs = (logits, retrieved, asked)
    np.testing.assert_allclose(made.loss({"retrieval": 1.0}, outputs, given, labels), expected)
    task = losses.cross_entropy(logits, labels)
    mixed = made.loss({"retrieval": 0.1}, outputs, given, labels)
    np.testing.assert_allclose(mixed, 0.9 * task + 0.1 * expected, rtol=1e-5)


def test_labels_of_sequences_are_those_of_their_rule():
    for name in tokens.CLASSES:
        found = tokens.load(name).test
        for sequence, label in zip(found.inputs[:200].tolist(), found.labels[:200], strict=True):
            if name == "majority":
                counts = [sequence.count(token) for token in range(4)]
                assert counts[label] == max(counts)
                assert counts.count(max(counts)) == 1
            elif name == "lookup":
                assert sequence[sequence.index(sequence[0], 1) + 1] == 16 + label
            else:
                assert (sequence.index(0) < sequence.index(1)) == label


def test_the_saving_at_the_papers_size_is_the_sheets():
    for inputs, sentence, each in ((20, 17.1, 13.9), (40, 29.9, 21.4)):
        assert round(throughput.gain(inputs), 1) == sentence
        assert round(throughput.gain(inputs, each_token=True), 1) == each
        assert throughput.gain(inputs, prefix=False) > 0.99 * inputs > sentence


def test_log_odds_have_no_ceiling():
    assert method.log_odds([1.0], 200)[0] == pytest.approx(np.log(401))
    assert method.log_odds([0.5], 200)[0] == 0


def test_a_number_of_heads_that_does_not_divide_is_refused():
    from jaxtrends import settings
    from jaxtrends.errors import Problem

    config = multiplexing.Config(tokens=tokens.Tokens(heads=3))
    with pytest.raises(Problem, match=r"--tokens\.width 64 is not divisible by --tokens\.heads 3"):
        settings.check(config)
