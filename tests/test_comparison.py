"""A comparison of arms: tuned alike, apart from reporting, paired, staged, judged, drawn."""

import dataclasses
from dataclasses import replace
from datetime import date
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from annotated_types import Gt, Lt, MultipleOf

from jaxtrends import charts, claims, declare, flops, settings, sweep, train, tuning
from jaxtrends.comparison import Arm, Setting
from jaxtrends.declare import tasks_of
from jaxtrends.errors import Problem
from jaxtrends.settings import TUNING_SEED_OFFSET
from tests import toy_comparison as toy
from tests.plain_run import PlainRun


def made(methods=None, **changes):
    config = replace(toy.Config(), **changes)
    run = PlainRun("fit", methods=methods)
    return toy.FIT.run(config, run), run


@pytest.fixture(scope="module")
def found():
    return made()


LANE = {"learning_rate": np.float32(0), "weight": np.float32(1)}


def arm_of(result, task, arm):
    return result.values["tasks"][task]["arms"][arm]


def test_every_rung_of_every_task_has_every_arm(found):
    result, _ = found
    assert list(result.values["tasks"]) == [f"{t}, {w}" for t in toy.TASKS for w in (2, 4, 8)]
    for task in result.values["tasks"].values():
        assert list(task["arms"]) == ["descent", "still", "further"]
        assert len(task["arms"]["descent"]["metrics"]["test_error"]) == 4


def test_tuning_seeds_are_never_reported_and_tuning_leaves_test_data_alone(found):
    result, run = found
    for task in result.values["tasks"].values():
        assert not set(task["seeds"]) & set(task["tuning_seeds"])
        assert min(task["tuning_seeds"]) == TUNING_SEED_OFFSET
    assert all(not test for label, _, _, _, test in run.calls if "tuning 0" in label)
    for label, trainer, *_ in run.calls:
        if "for tuning" in label:  # for a later arm: parameters and nothing else
            lanes = tuning.lanes([0.1], [1], {"weight": 1.0})
            metrics = sweep.run(
                trainer,
                lanes,
                toy.data(toy.FIT.settings(toy.Config(), "fit")["plain, 2"], run),
                steps=4,
                log_every=4,
                block=1,
            )
            assert not [name for name in metrics if name.startswith("test_")]
            break
    else:
        pytest.fail("no lanes for a later arm")


def test_values_are_those_of_the_lane_trained_alone(found):
    """An oracle: gradient descent on least squares, by numpy, with the batches of the seed."""
    result, run = found
    arm = arm_of(result, "plain, 4", "descent")
    setting = toy.FIT.settings(toy.Config(), "fit")["plain, 4"]
    data = toy.data(setting, run)
    inputs, labels = data["train"]
    for seed, reported in zip((0, 1, 2, 3), arm["metrics"]["test_error"], strict=True):
        root = jax.random.key(np.uint32(seed))
        start, order = jax.random.fold_in(root, 0), jax.random.fold_in(root, 1)
        params = toy.models.mlp((4, 1)).init(start)
        layer = params["layers"]["0"]
        kernel, bias = (np.array(layer[n], np.float64) for n in ("kernel", "bias"))
        for step in range(40):
            key = jax.random.fold_in(order, np.int32(step))
            rows = np.asarray(jax.random.randint(key, (8,), 0, 64, np.int32))
            error = inputs[rows] @ kernel[:, 0] + bias[0] - labels[rows]
            kernel[:, 0] -= arm["learning_rate"] * 2 * inputs[rows].T @ error / 8
            bias -= arm["learning_rate"] * 2 * error.mean()
        tests, wanted = data["test"]
        expected = np.mean((tests @ kernel[:, 0] + bias[0] - wanted) ** 2)
        np.testing.assert_allclose(reported, expected, rtol=1e-4, atol=1e-9)


def test_a_control_takes_the_rate_of_its_arm_and_is_not_tuned(found):
    result, run = found
    still, descent = (arm_of(result, "plain, 2", arm) for arm in ("still", "descent"))
    assert still["learning_rate"] == descent["learning_rate"]
    assert "grid" not in still
    assert not [label for label, *_ in run.calls if "still, tuning" in label]


def test_an_arm_after_another_starts_where_that_ended(found):
    """Descent from the end of descent: 80 steps in two stages, better than 40 on every seed."""
    result, _ = found
    first, second = (arm_of(result, "plain, 8", arm) for arm in ("descent", "further"))
    assert second["after"] == "descent"
    assert (second["metrics"]["test_error"] < first["metrics"]["test_error"]).all()
    curves = result.curves
    start = curves["plain, 8/further/validation_error"][:, 0]
    fresh = curves["plain, 8/descent/validation_error"][:, 0]
    assert (start < fresh).all()


def test_arms_that_differ_in_numbers_share_a_program(found):
    _, run = found
    trainers = {
        label.split(",")[1].split()[-1]: trainer
        for label, trainer, *_ in run.calls
        if label.startswith("plain, 2") and "tuning" in label and "for" not in label
    }
    assert len(set(map(id, trainers.values()))) == 1


def test_a_choice_on_the_edge_extends_the_grid_and_is_noted(found):
    result, _ = found
    grid = arm_of(result, "plain, 2", "descent")["grid"]
    assert len(grid["rates"]) in (3, 4)
    result, _ = made(
        fit=replace(
            toy.Fit(),
            widths=(2,),
            schedule=dataclasses.replace(toy.Fit().schedule, grid=(1e-4, 2e-4), extensions=0),
        )
    )
    assert arm_of(result, "plain, 2", "descent")["grid"]["edge"]
    evidence = toy.FIT.claims[0].evidence(result.values)
    assert evidence.undecided == {
        "plain, 2": "descent is tuned to the edge of its grid",
        "noisy, 2": "descent is tuned to the edge of its grid",
    }


def test_its_claims_are_judged_part_by_part_with_controls_of_their_own(found):
    result, _ = found
    claim = toy.FIT.claims[0]
    evidence = claim.evidence(result.values)
    assert set(evidence.controls) == {f"still, {part}" for part in evidence.parts}
    verdict = claims.judge(claim, evidence)
    # no difference at all between an arm and itself
    assert {f.estimate for f in verdict.controls.values()} == {0.0}
    assert verdict.verdict in (claims.REPRODUCED, claims.INCONCLUSIVE)


def test_a_ladder_has_the_slope_of_its_effect(found):
    result, _ = found
    (claim,) = (claim for claim in toy.FIT.claims if claim.id == "T2")
    evidence = claim.evidence(result.values)
    rungs = tasks_of(result.values, ["plain"])
    logs = np.stack([np.log(rung["still"]["test_error"]) for rung in rungs])
    expected = [np.polyfit([1.0, 2.0, 3.0], logs[:, seed], 1)[0] for seed in range(4)]
    np.testing.assert_allclose(evidence.parts[""]["values"], expected, rtol=1e-6)
    short, _ = made(fit=replace(toy.Fit(), widths=(2, 4)))
    with pytest.raises(KeyError, match="ladder of three rungs"):
        claim.evidence(short.values)


def test_a_slope_of_two_tasks_is_two_slopes(found):
    result, _ = found
    claim = declare.slope(
        "S",
        "It grows.",
        lambda rung: np.log(rung["still"]["test_error"]),
        quantity="log error",
        region=declare.ABOVE_ZERO,
        reason="the sign",
        fails={"flat": (lambda rung: 0 * rung["still"]["test_error"], "no slope")},
    )
    evidence = claim.evidence(result.values)
    assert set(evidence.parts) == {"plain", "noisy"}
    assert set(evidence.controls) == {"flat, plain", "flat, noisy"}
    assert evidence.parts["plain"] != evidence.parts["noisy"]


@pytest.mark.parametrize("region", [declare.ABOVE_ZERO, declare.BELOW_ZERO])
@pytest.mark.parametrize("lost", ["arm", "control"])
def test_a_slope_that_is_not_finite_decides_nothing(region, lost):
    """A rung that never reaches its target: the slope is -inf, and no sample may call it +inf."""
    reached = {2: [1.0, 2.0, 1.5], 4: [2.0, 3.0, 2.5], 8: [3.0, 4.0, 3.5]}
    tasks = {}
    for size, steps in reached.items():
        never = [np.inf, *steps[1:]] if size == 2 else steps
        pair = {"arm": steps, "control": [1.0, 1.1, 0.9], lost: never}
        arms = {name: {"metrics": {"steps": v}, "facts": {}} for name, v in pair.items()}
        tasks[f"{size}"] = {"task": "", "size": size, "arms": arms}
    claim = declare.slope(
        "S",
        "It grows.",
        lambda rung: rung["arm"]["steps"],
        quantity="steps",
        region=region,
        reason="the sign",
        fails={"still": (lambda rung: rung["control"]["steps"], "no slope")},
    )
    evidence = claim.evidence({"tasks": tasks})
    whose = " of the control “still”" if lost == "control" else ""
    said = f"at 2 1 of 3 seeds have no finite effect{whose}"
    assert evidence.undecided == {"": said}
    verdict = claims.judge(claim, evidence)
    assert (verdict.verdict, verdict.note) == (claims.INCONCLUSIVE, said)


def test_a_claim_across_rungs_reads_each_and_is_left_out_where_one_is_missing(found):
    result, _ = found

    def rise(ladder):
        return ladder[8]["still"]["test_error"] - ladder[2]["still"]["test_error"]

    claim = declare.across(
        "A",
        "More inputs, more error.",
        rise,
        quantity="error at 8 - at 2 inputs",
        region=declare.ABOVE_ZERO,
        reason="the sign",
        fails={"backwards": (lambda ladder: -rise(ladder), "the ladder read from its other end")},
        tasks=("noisy",),
    )
    evidence = claim.evidence(result.values)
    arms = [arm_of(result, f"noisy, {width}", "still")["metrics"] for width in (2, 8)]
    expected = arms[1]["test_error"] - arms[0]["test_error"]
    assert evidence.parts[""]["values"] == list(expected)
    assert evidence.undecided == {}
    short, _ = made(fit=replace(toy.Fit(), widths=(2, 4)))
    with pytest.raises(KeyError, match="rung 8"):
        claim.evidence(short.values)
    on_edge = dataclasses.replace(toy.Fit().schedule, grid=(1e-4, 2e-4), extensions=0)
    edged, _ = made(fit=replace(toy.Fit(), tasks=("noisy",), widths=(2, 8), schedule=on_edge))
    descent = declare.across(
        "A",
        "It falls.",
        lambda ladder: ladder[8]["descent"]["test_error"],
        quantity="error",
        region=declare.ABOVE_ZERO,
        reason="the sign",
        fails={},
    )
    assert descent.evidence(edged.values).undecided == {
        "": "at 8 descent is tuned to the edge of its grid"
    }


def test_a_quantity_may_be_a_pair_that_a_paired_statistic_compares(found):
    claim = declare.derive(
        "P",
        "Descent learns.",
        lambda rung: (rung["descent"]["test_error"], rung["still"]["test_error"]),
        quantity="ratio of errors",
        statistic="paired ratio",
        region=(-np.inf, 1.0),
        reason="the sign",
        fails={"itself": (lambda rung: (rung["still"]["test_error"],) * 2, "no difference")},
        tasks=("plain, 8",),
    )
    evidence = claim.evidence(found[0].values)
    assert set(evidence.parts[""]) == {"treatment", "reference"}
    assert claims.judge(claim, evidence).verdict == claims.REPRODUCED


@pytest.mark.parametrize(("share", "expected"), [(0.4, claims.REPRODUCED), (0.6, claims.INVALID)])
def test_parts_of_values_without_arms_are_judged_with_controls_for_all(share, expected):
    claim = declare.fact(
        "P",
        "Everything is small.",
        lambda values: values["sizes"],
        quantity="size",
        statistic="exact",
        region=(-np.inf, 0.5),
        reason="a half",
        fails={"large": (lambda values: values["large"], "one that is large must not pass")},
        passes={"nothing": (lambda values: 0.0 if share < 0.5 else share, "0 is small")},
        source="derived",
    )
    assert (claim.kind, claim.known) == ("exact", "derived")
    evidence = claim.evidence({"sizes": {"a": 0.1, "b": 0.2}, "large": 0.7})
    assert claims.judge(claim, evidence).verdict == expected
    with pytest.raises(KeyError):
        claim.evidence({})


def test_an_arm_of_other_steps_is_tuned_for_as_large_a_share_of_them():
    def half(setting):
        return replace(toy.descent()(setting), steps=20)

    config = replace(toy.Fit(), widths=(2,), tasks=("plain",))
    for tuning_steps, expected in ((0, {40, 20}), (20, {20, 8})):  # 10 is no log point: 8 is
        schedule = dataclasses.replace(toy.Fit().schedule, tuning_steps=tuning_steps)
        calls = []

        class Recorded(PlainRun):
            def train(self, label, *given, steps, calls=calls, **how):
                calls.append((label, steps))
                return super().train(label, *given, steps=steps, **how)

        run = Recorded("fit", methods={"half": half})
        toy.FIT.run(replace(toy.Config(), fit=replace(config, schedule=schedule)), run)
        assert {steps for label, steps in calls if ", tuning" in label} == expected
        assert {steps for label, steps in calls if "half, reporting" in label} == {20}


def test_an_arm_of_another_metric_is_tuned_by_it():
    """By the loss, which its lanes weigh by -1 and so drive below 0, where no error ever is."""

    def worst(setting):
        return replace(toy.descent(-1.0)(setting), metric="loss")

    config = replace(toy.Fit(), widths=(2,), tasks=("plain",))
    result, _ = made(methods={"worst": worst}, fit=config)
    grid = arm_of(result, "plain, 2", "worst")["grid"]
    assert (grid["scores"][0] < 0).all()  # rates above it diverge
    assert (arm_of(result, "plain, 2", "descent")["grid"]["scores"] >= 0).all()


def test_a_run_without_an_arm_leaves_its_claims_out():
    result, _ = made(fit=replace(toy.Fit(), arms=("descent",), widths=(2,)))
    with pytest.raises(KeyError, match="arm still"):
        toy.FIT.claims[0].evidence(result.values)


def test_an_arm_of_the_users_own_is_tuned_paired_judged_and_logged():
    own = toy.descent(0.5)
    result, run = made(methods={"half": own}, fit=replace(toy.Fit(), widths=(2,)))
    half = arm_of(result, "plain, 2", "half")
    assert half["grid"]["rates"][:3] == (0.01, 0.1, 0.3)
    (claim,) = toy.FIT.claims_of(["half"])
    evidence = claim.evidence(result.values)
    reference = arm_of(result, "plain, 2", "descent")["metrics"]["test_error"]
    assert evidence.parts["plain, 2"]["reference"] == list(reference)
    assert "plain, 2/half" in [method for method, *_ in run.lanes]


def test_a_lane_that_diverged_has_the_worst_there_is():
    def tested(lane, state, data):  # most guesses are right, of a net that is no net any more
        return {**toy.trainer(2).test(lane, state, data), "test_accuracy": jnp.float32(0.9)}

    def explode(setting):
        trainer = replace(toy.trainer(2), test=tested)
        return replace(toy.descent()(setting), trainer=trainer, numbers={"weight": 1e30})

    result, _ = made(methods={"explode": explode}, fit=replace(toy.Fit(), widths=(2,)))
    arm = arm_of(result, "plain, 2", "explode")
    assert arm["diverged"] == 4
    assert np.isinf(arm["metrics"]["test_error"]).all()
    assert (arm["metrics"]["test_accuracy"] == 0).all()
    assert arm["grid"]["edge"]


def test_flops_are_counted_where_they_are_not_given(found):
    result, _ = found
    # forward 2 x 8 x 4 x 1, and as much again for the gradient of the weights
    assert arm_of(result, "plain, 4", "descent")["facts"]["flops"] == 2 * 2 * 8 * 4


def test_its_figures_and_tables_can_be_drawn(found):
    result, _ = found
    assert len({figure.name for figure in result.figures}) == 4
    for figure in result.figures:
        assert any(panel.series for panel in figure.panels)
        for panel in figure.panels:
            for series in panel.series:
                assert len(series.x) == len(series.y)
    for table in result.tables:
        assert {len(row) for row in table.rows} == {len(table.columns)}


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"seeds": 0}, None),
        ({"seed": -1}, "--seed must be at least 0, not -1."),
        ({"fit": {"tasks": ("plane",)}}, "There is no task 'plane': choose from plain, noisy."),
        ({"fit": {"widths": (4, 2)}}, "--fit.widths needs 1 or more numbers in rising order"),
        ({"fit": {"schedule": {"steps": 0}}}, "--fit.schedule.steps must be above 0, not 0."),
        ({"fit": {"schedule": {"steps": 41}}}, "is not a multiple of --fit.schedule.log-every 4."),
        ({"fit": {"schedule": {"grid": (float("nan"),)}}}, "must be a finite number above 0"),
        ({"fit": {"schedule": {"grid": (0.1,)}}}, "has no ratio for an extension"),
    ],
)
def test_what_a_field_does_not_allow_is_refused_by_its_flag(changes, sentence):
    def changed(config, changes):
        return replace(
            config,
            **{
                name: changed(getattr(config, name), value) if isinstance(value, dict) else value
                for name, value in changes.items()
            },
        )

    config = changed(toy.Config(), changes)
    if sentence is None:
        settings.check(config)  # the toy's own field allows it
        return
    with pytest.raises(Problem) as refused:
        settings.check(config)
    assert sentence in str(refused.value)


@dataclasses.dataclass(frozen=True)
class Half:
    """A share that is neither nothing nor all."""

    share: Annotated[float, Gt(0), Lt(1)] = 0.5


def test_a_field_may_lie_between_two_numbers():
    settings.check(Half())
    with pytest.raises(Problem, match=r"--share must be a finite number below 1, not 1\.0\."):
        settings.check(Half(1.0))
    with pytest.raises(Problem, match="above 0"):
        settings.check(Half(0.0))


def test_a_field_may_be_a_multiple_of_a_number():
    kind = dataclasses.make_dataclass("Part", [("draws", Annotated[int, Gt(0), MultipleOf(1000)])])
    settings.check(kind(2000))
    with pytest.raises(Problem, match="--draws must be a multiple of 1,000, not 1500"):
        settings.check(kind(1500))


def test_a_study_without_a_task_is_refused():
    with pytest.raises(Problem, match="Study fit has no task: name one with"):
        made(fit=replace(toy.Fit(), tasks=()))


@pytest.mark.parametrize(("dates", "refused"), [(("2015-09-01",), ""), (("2015", "soon"), "soon")])
def test_a_text_that_cannot_be_read_is_refused_by_its_flag(dates, refused):
    day = settings.Readable(date.fromisoformat, "a date", "2015-09-01")
    kind = dataclasses.make_dataclass("Part", [("cut_offs", Annotated[tuple[str, ...], day])])
    if not refused:
        settings.check(kind(dates), "part")
        return
    with pytest.raises(Problem, match=r"--part\.cut-offs .2015. is not a date: write it as"):
        settings.check(kind(dates), "part")


def stated(value, doubt="", **changed):
    """A fact whose control that must fail is -1, and whose other is 1."""
    claim = declare.fact(
        "A",
        "It is above zero.",
        lambda values: value,
        quantity="number",
        region=declare.ABOVE_ZERO,
        reason="a sign",
        fails={"minus": (lambda values: changed.get("minus", -1), "it is below")},
        passes={"plus": (lambda values: changed.get("plus", 1.0), "it is above")},
        doubt=lambda values: doubt,
        statistic=changed.get("statistic", "exact"),
    )
    return claims.judge(claim, claim.evidence({}))


def test_a_fact_may_have_parts_that_share_their_controls():
    found = stated({"one": 1, "two": -2.0})
    assert {name: part.verdict for name, part in found.parts.items()} == {
        "one": claims.REPRODUCED,
        "two": claims.NOT_REPRODUCED,
    }
    assert set(found.controls) == {"minus", "plus"}
    assert stated(1).parts[""].verdict == claims.REPRODUCED
    for wrong in ({"minus": 1}, {"plus": -1}):
        assert stated({"one": 1, "two": 1}, **wrong).verdict == claims.INVALID
    assert stated(1, "no power").verdict == claims.INCONCLUSIVE


def test_each_part_of_a_fact_may_have_its_own_control():
    found = stated({"one": 1, "two": 1}, minus={"one": -1, "two": 1}, plus={"one": 1, "two": 1})
    assert {name: part.verdict for name, part in found.parts.items()} == {
        "one": claims.REPRODUCED,
        "two": claims.INVALID,
    }
    assert set(found.controls) == {"minus, one", "minus, two", "plus, one", "plus, two"}
    with pytest.raises(ValueError, match="no samples for"):
        stated({"one": 1, "two": 1}, minus={"one": -1})


def test_a_fact_may_be_a_sample_or_two():
    many, few = [0, 1] * 50, [-1] * 9
    means = stated(many, statistic="mean", minus=few, plus=[1] * 9)
    assert means.parts[""].estimate == 0.5
    pair = [2.0, 3.0, 2.5], [1.0, 2.0, 1.25]
    turned = pair[::-1]
    for value in (pair, {"one": pair, "two": pair}):
        found = stated(value, statistic="paired difference", minus=turned, plus=pair)
        assert {part.estimate for part in found.parts.values()} == {3.25 / 3}
        assert found.verdict == claims.REPRODUCED


def test_flops_of_loops_branches_and_products():
    def looped(x):
        def body(carry, _):
            return carry @ carry, None

        return jax.lax.scan(body, x, None, length=5)[0]

    square = jax.ShapeDtypeStruct((3, 3), np.float32)
    assert flops.count(looped, square) == 5 * 2 * 27
    assert flops.count(lambda x: jax.vmap(looped)(x[None])[0], square) == 5 * 2 * 27
    assert flops.count(lambda x: jax.lax.cond(x[0, 0] > 0, looped, lambda x: x, x), square) == 270
    assert flops.count(jax.jit(jax.checkpoint(lambda x: x @ x)), square) == 54
    images = jax.ShapeDtypeStruct((2, 8, 8, 3), np.float32)
    kernel = jax.ShapeDtypeStruct((3, 3, 3, 5), np.float32)

    def convolve(x, k):
        return jax.lax.conv_general_dilated(
            x, k, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    assert flops.count(convolve, images, kernel) == 2 * 2 * 8 * 8 * 5 * 27
    with pytest.raises(ValueError, match="unknown length"):
        flops.count(lambda x: jax.lax.while_loop(lambda y: y[0, 0] < 9, lambda y: y @ y, x), square)


def test_an_arm_may_have_numbers_that_are_tuned_beside_its_rate():
    """A weight of the loss and a rate act as their product: the pair chosen learns best."""

    def weighted(setting):
        return Arm(toy.trainer(2), facts={"parameters": 3}, grids={"weight": (0.01, 0.1, 1.0)})

    def fixed(setting):
        return Arm(toy.trainer(2), grids={"weight": (0.01, 0.1)}, rate=0.5)

    def control(setting):
        return Arm(toy.trainer(2), rate_of="weighted")

    study = replace(
        toy.FIT, arms={"weighted": weighted, "fixed": fixed, "control": control}, figures=()
    )
    run = PlainRun("fit")
    config = toy.Config(fit=replace(toy.Fit(), tasks=("plain",), widths=(2,)))
    result = study.run(config, run)
    arm = arm_of(result, "plain, 2", "weighted")
    points = list(zip(arm["grid"]["beside"]["weight"], arm["grid"]["rates"], strict=True))
    assert len(set(points)) == len(points) >= 9
    best = np.asarray(arm["grid"]["scores"]).mean(axis=1).argmin()
    assert points[best] == (arm["tuned"]["weight"], arm["learning_rate"])
    lone = arm_of(result, "plain, 2", "fixed")
    assert set(lone["grid"]["rates"]) == {lone["learning_rate"]} == {0.5}
    assert lone["tuned"]["weight"] in lone["grid"]["beside"]["weight"]
    assert lone["grid"]["edge"]  # the weight was extended twice and still is the highest
    same = arm_of(result, "plain, 2", "control")
    assert same["tuned"] == arm["tuned"]
    assert np.array_equal(same["metrics"]["test_error"], arm["metrics"]["test_error"])
    outcomes, grids = result.tables
    assert outcomes.columns[outcomes.columns.index("learning rate") + 1] == "weight"
    assert sum(row[-1] for row in grids.rows) == 2
    assert run.tables[0][1][0].keys() >= {"learning_rate", "weight", "seed"}


# --- what declarations read ----------------------------------------------------------------------


def by_hand(**edges):
    """Two rungs of a ladder: each arm's error, and whether its grid's edge was chosen."""
    arms = {"good": 1.0, "bad": 2.0, "worse": 3.0}

    def task(scale, size):
        made = {
            name: {
                "metrics": {"test_error": scale * error * np.array([1.0, 1.1, 0.9])},
                "facts": {"parameters": 10 * error},
                "grid": {"edge": edges.get(name, False)},
            }
            for name, error in arms.items()
        }
        made["copy"] = {**made["good"], "rate_of": "good"}
        del made["copy"]["grid"]
        made["later"] = {**made["worse"], "after": "copy"}
        return {"task": "fit", "size": size, "arms": made}

    return {"tasks": {"fit, 4": task(3.0, 4), "fit, 2": task(1.0, 2)}}


def derived(value, **declared):
    return declare.derive(
        "T",
        "It does.",
        value,
        quantity="error",
        region=declare.ABOVE_ZERO,
        reason="the sign",
        **{"fails": {}, **declared},
    )


def test_a_metric_hangs_on_the_grid_of_its_rate_and_a_fact_does_not():
    values = by_hand(good=True)
    note = "good is tuned to the edge of its grid"

    def undecided(value):
        return set(derived(value).evidence(values).undecided.values())

    assert undecided(lambda task: task["good"]["test_error"]) == {note}
    assert undecided(lambda task: task["copy"]["test_error"]) == {note}  # whose rate it took
    assert undecided(lambda task: task["later"]["test_error"]) == {note}  # whose parameters
    own = set(derived(lambda task: task["later"]["test_error"]).evidence(by_hand()).undecided)
    assert own == set()
    assert undecided(lambda task: task["good"]["parameters"]) == set()
    assert undecided(lambda task: task["bad"]["test_error"]) == set()


def test_a_task_may_read_another_one():
    def both(task):
        return task["bad"]["test_error"] - task.beside("fit, 4")["good"]["test_error"]

    claim = derived(both, tasks=("fit, 2",))
    evidence = claim.evidence(by_hand(good=True))
    np.testing.assert_allclose(evidence.parts[""]["values"], [-1.0, -1.1, -0.9])
    assert evidence.undecided == {"": "good of fit, 4 is tuned to the edge of its grid"}
    values = by_hand()
    del values["tasks"]["fit, 4"]
    with pytest.raises(KeyError, match="task fit, 4"):
        claim.evidence(values)


def test_a_task_may_have_parts_of_its_own_by_name():
    """As layers of a network: each is judged by itself, by a control of its name or by all's."""

    def errors(*arms):
        return lambda task: {arm: task[arm]["test_error"] for arm in arms}

    claim = derived(
        errors("good", "bad"),
        fails={
            "own": (lambda task: {arm: -task[arm]["test_error"] for arm in ("good", "bad")}, "."),
            "all": (lambda task: -task["worse"]["test_error"], "."),
        },
    )
    evidence = claim.evidence(by_hand(good=True))
    names = [f"fit, {size}, {arm}" for size in (4, 2) for arm in ("good", "bad")]
    assert list(evidence.parts) == list(evidence.undecided) == names
    np.testing.assert_allclose(evidence.controls["own, fit, 2, bad"]["values"], [-2, -2.2, -1.8])
    np.testing.assert_allclose(evidence.controls["all, fit, 2, bad"]["values"], [-3, -3.3, -2.7])
    assert claims.judge(claim, claim.evidence(by_hand())).verdict == claims.REPRODUCED
    (one,) = derived(errors("good"), tasks=("fit, 2",)).evidence(by_hand()).parts
    assert one == "good"


def test_a_pair_is_compared_and_a_doubt_keeps_its_task_from_deciding():
    claim = derived(
        lambda task: (task["bad"]["test_error"], task["good"]["test_error"]),
        statistic="paired ratio",
        fails={"worse": (lambda task: (task["good"]["test_error"],) * 2, "no difference")},
        doubt=lambda task: "too small" if task.size < 3 else "",
    )
    evidence = claim.evidence(by_hand())
    assert evidence.undecided == {"fit, 2": "too small"}
    verdict = claims.judge(replace(claim, region=(1.5, 3.0)), evidence)
    assert {name: found.verdict for name, found in verdict.parts.items()} == {
        "fit, 4": claims.REPRODUCED,
        "fit, 2": claims.INCONCLUSIVE,
    }
    assert verdict.parts["fit, 4"].estimate == pytest.approx(2.0)


def test_a_claim_may_be_about_the_largest_rung_alone():
    claim = declare.compare(
        "T",
        "It is worse.",
        "bad",
        "good",
        on="test_error",
        region=declare.ABOVE_ZERO,
        reason="the sign",
        fails={"good": "it is itself"},
        top=True,
    )
    evidence = claim.evidence(by_hand())
    np.testing.assert_allclose(evidence.parts[""]["treatment"], [6.0, 6.6, 5.4])


# --- what a comparison may add -------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Timed(toy.Fit):
    """With rounds of timing."""

    timing_processes: int = 2


@pytest.fixture(scope="module")
def timed():
    def halved(task, curves):
        steps = {arm: {"steps_to_half": np.full(4, 20.0)} for arm in task["arms"]}
        return {"goal": curves["descent/validation_error"][:, 0] / 2, "arms": steps}

    fit = replace(
        toy.FIT,
        arms={
            "descent": toy.descent(),
            "given": toy.descent(rate=0.1),
            "still": toy.descent(0.0, tuning_steps=8),
        },
        facts=lambda setting, run: {"noise": 0.3},
        also=halved,
        more=("steps_to_half",),
        tables=(lambda shown: charts.outcomes(replace(shown, study="again")),),
        figures=(
            charts.marked(charts.over(rule="goal"), lambda task: {"noise": task["noise"]}),
            charts.difference(("given", "still", "absent"), "descent"),
            charts.difference("absent", "descent"),
        ),
        timed=True,
    )
    run = PlainRun("fit")
    config = replace(toy.Config(), fit=Timed(tasks=("plain",), widths=(2,)))
    return fit.run(config, run), run


def test_an_arm_whose_rate_is_given_is_not_tuned(timed):
    result, run = timed
    given = arm_of(result, "plain, 2", "given")
    assert given["learning_rate"] == 0.1
    assert "grid" not in given
    assert not [label for label, *_ in run.calls if "given, tuning" in label]
    tuned = {label.split()[2]: steps for label, _, _, steps, _ in run.calls if "tuning" in label}
    assert tuned == {"descent,": 40, "still,": 8}  # which says for how long itself


def test_a_task_has_its_facts_and_its_arms_have_further_metrics(timed):
    result, _ = timed
    task = result.values["tasks"]["plain, 2"]
    assert task["noise"] == 0.3
    assert len(task["goal"]) == 4
    np.testing.assert_array_equal(task["arms"]["still"]["metrics"]["steps_to_half"], [20.0] * 4)
    outcomes, _, again = result.tables
    assert "steps to half" in outcomes.columns
    assert again.name == "again-outcomes"
    over, difference = result.figures  # a chart with nothing to show is left out
    assert over.panels[0].threshold == pytest.approx(float(np.median(task["goal"])))
    assert over.panels[0].marks == {"noise": 0.3}
    assert [line.label for line in difference.panels[0].series] == [
        "given - descent",
        "still - descent",
    ]


def test_steps_are_timed_and_a_claim_may_be_about_their_seconds(timed):
    result, _ = timed
    assert {len(s) for s in result.measurements["step_seconds"]["plain, 2"].values()} == {2}
    assert "step_seconds" not in result.values
    claim = derived(lambda task: task["given"]["steps_to_half"] * task["given"]["seconds"])
    taken = result.measurements["step_seconds"]["plain, 2"]["given"]
    (part,) = claim.evidence(result.measurements).parts.values()
    np.testing.assert_allclose(part["values"], [20 * np.median(taken)] * 4)
    (figure,) = result.measured_figures
    assert figure.panels[0].x_label == "time (s)"
    longest = max(line.x[-1] for line in figure.panels[0].series)
    assert longest == pytest.approx(
        40 * max(np.median(s) for s in result.measurements["step_seconds"]["plain, 2"].values())
    )
    (table,) = result.measured_tables
    assert {len(row) for row in table.rows} == {len(table.columns)}


@dataclasses.dataclass(frozen=True)
class Apart(toy.Fit):
    """A study of which one task has a part of its own, with fewer seeds."""

    tasks: tuple[str, ...] = ("noisy", "plain")
    plain: toy.Fit = dataclasses.field(
        default_factory=lambda: Fewer(schedule=replace(toy.Fit().schedule, steps=20))
    )


@dataclasses.dataclass(frozen=True)
class Fewer(toy.Fit):
    """With seeds that are not the config's."""

    seeds: int = 2


def test_a_task_may_have_a_part_and_seeds_of_its_own():
    study = replace(toy.FIT, arms={"descent": toy.descent()}, figures=(), claims=())
    result = study.run(toy.Config(fit=Apart(widths=(2,))), PlainRun("fit"))
    noisy, plain = (result.values["tasks"][task] for task in ("noisy, 2", "plain, 2"))
    assert (noisy["steps"], noisy["seeds"]) == (40, [0, 1, 2, 3])
    assert (plain["steps"], plain["seeds"]) == (20, [0, 1])
    assert len(plain["arms"]["descent"]["metrics"]["test_error"]) == 2


def test_an_arm_may_start_from_given_parameters_and_stay_there():
    """At a rate of zero; what its test measures raw is worked up, and not recorded."""
    plain = toy.trainer(2)

    def test(lane, state, data):
        kernel = state["params"]["layers"]["0"]["kernel"]
        return {**plain.test(lane, state, data), f"{train.RAW}kernel": kernel}

    trainer = replace(plain, test=test)
    seeds = [*range(4), *(TUNING_SEED_OFFSET + seed for seed in range(2))]
    shapes = jax.eval_shape(plain.init, {"seed": np.uint32(0), **LANE}, None)["params"]
    given = {
        seed: jax.tree.map(lambda leaf, seed=seed: np.full(leaf.shape, seed, leaf.dtype), shapes)
        for seed in seeds
    }

    def arm(setting, **more):
        return Arm(trainer, {"weight": 1.0}, start=given, **more)

    def also(task, curves):
        found = {name: curves[f"{name}/{train.RAW}kernel"].mean(axis=(1, 2)) for name in ("a", "b")}
        return {"arms": {name: {"kernel": mean} for name, mean in found.items()}}

    arms = {"a": lambda setting: arm(setting, rate=0.0, steps=4), "b": arm}
    study = replace(toy.FIT, arms=arms, figures=(), claims=(), also=also)
    config = toy.Config(fit=replace(toy.Fit(), tasks=("plain",), widths=(2,)))
    result = study.run(config, PlainRun("fit"))
    still, moved = (arm_of(result, "plain, 2", name) for name in "ab")
    np.testing.assert_array_equal(still["metrics"]["kernel"], [0, 1, 2, 3])
    assert "grid" not in still
    assert np.abs(moved["metrics"]["kernel"] - 1).max() < 0.1  # the labels are sums
    assert not any(name.startswith(train.RAW) for name in still["metrics"])


def test_a_study_may_find_out_its_tasks_and_rates_itself():
    rates = {"slow": 0.01, "fast": 0.1}
    grid = {"rates": tuple(rates.values()), "scores": [[1.0, 2.0], [0.5, 0.7]], "edge": True}

    def arm(setting):
        chosen = grid if setting.task == "fast" else {}
        return Arm(toy.trainer(2), {"weight": 1.0}, rate=rates[setting.task], grid=chosen)

    study = replace(toy.FIT, arms={"descent": arm}, figures=())
    config, run = toy.Config(), PlainRun("fit")
    tasks = {name: Setting(config, config.fit, name, 2) for name in rates}
    result = study.run(config, run, tasks)
    found = {name: arm_of(result, name, "descent") for name in rates}
    assert {name: one["learning_rate"] for name, one in found.items()} == rates
    assert (found["fast"]["metrics"]["test_error"] < found["slow"]["metrics"]["test_error"]).all()
    assert "grid" not in found["slow"]
    said = derived(lambda task: task["descent"]["test_error"]).evidence(result.values).undecided
    assert said == {"fast": "descent is tuned to the edge of its grid"}
    assert [name for name, _ in run.tables] == ["fast/tuning/descent"]


def test_an_arm_that_needs_one_left_out_is_refused():
    with pytest.raises(Problem, match="Arm further of fit needs arm descent: name it too"):
        made(fit=replace(toy.Fit(), arms=("further",), widths=(2,)))


def test_a_histogram_has_shares_or_a_density_and_ends_at_zero():
    values = np.array([0.1, 0.2, 0.7, 3.0])
    shares = charts.histogram("all", values, np.array([0.0, 0.5, 1.0]))
    assert (shares.x, shares.y) == ([0.0, 0.5, 1.0], [0.5, 0.25, 0.0])
    dense = charts.histogram("all", values, 2, (0.0, 1.0), density=True)
    assert dense.y == pytest.approx([4 / 3, 2 / 3, 0.0])


def test_a_table_takes_its_columns_from_its_rows():
    made = charts.table("t", "T", [{"a": 1, "b": 2}, {"a": 3, "b": 4}], "note")
    assert (made.columns, made.rows, made.note) == (["a", "b"], [[1, 2], [3, 4]], "note")
    with pytest.raises(ValueError, match="other columns"):
        charts.table("t", "T", [{"a": 1, "b": 2}, {"b": 4, "a": 3}])


def test_a_ladder_is_drawn_relative_to_an_arm_on_the_rungs_that_have_it():
    def rung(size, **errors):
        arms = {arm: {"metrics": {"test_error": found}} for arm, found in errors.items()}
        return {"task": "plain", "size": size, "seeds": [0, 1], "arms": arms}

    tasks = {
        "2": rung(2, base=[1.0, 2.0], other=[2.0, 4.0]),
        "4": rung(4, base=[1.0, np.inf], other=[3.0, 3.0]),
        "8": rung(8, other=[1.0, 1.0]),
    }
    shown = charts.Shown("fit", "error", "", "inputs", tasks, {})
    whole, ratio = charts.climb(relative_to="base")(shown).panels
    assert [series.label for series in whole.series] == ["base", "other"]
    (other,) = ratio.series
    assert (list(other.x), list(other.y), ratio.threshold) == ([2], [2.0], 1.0)  # 4 diverged


def test_at_least_one_of_some_names_must_be_given():
    kind = dataclasses.make_dataclass("Part", [("laws", settings.Some[("even", "odd")])])
    settings.check(kind(("odd",)))
    with pytest.raises(Problem, match="--laws must name at least one of even, odd"):
        settings.check(kind(()))
    with pytest.raises(Problem, match="'even'"):
        settings.check(kind(("evn",)))


def test_a_step_whose_operations_cannot_be_counted_is_trained_all_the_same():
    def step(lane, state, data):
        def body(x):
            return x @ data

        return jax.lax.while_loop(lambda x: x.sum() < lane["bound"], body, state), {}

    made = train.Trainer(lambda lane, data: data, step, lambda *_: {}, lambda *_: {})
    found = flops.of_step(made, {"bound": np.float32(1)}, np.ones((2, 2), np.float32))
    assert np.isnan(found)


def test_rungs_mixed_up_have_no_slope_where_the_rungs_have_one():
    sizes = [4, 16, 64, 256, 1024]
    tasks = {
        f"width {size}": {"task": "ladder", "size": size, "arms": {}, "effect": 2.0 * np.log(size)}
        for size in sizes
    }
    rungs = declare.tasks_of({"tasks": tasks})

    def effect(rung):
        return np.full(3, rung.of("effect"))

    def slope(function):
        return declare.slope_of(sizes, [function(rung) for rung in rungs], per=np.e)

    np.testing.assert_allclose(slope(effect), 2.0)
    np.testing.assert_allclose(slope(declare.mixed_up(effect)), 0.0, atol=1e-9)
    mixed = sorted(declare.mixed_up(effect)(rung)[0] for rung in rungs)
    np.testing.assert_allclose(mixed, 2.0 * np.log(sizes))  # each is somewhere
