"""Gradient estimators against closed forms, plain loops and SciPy's distributions."""

from __future__ import annotations

import math
from functools import partial
from operator import itemgetter

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from jaxtrends import estimators
from jaxtrends.errors import Problem
from jaxtrends.estimators import LAWS, MODES, backprop, draw, draw_tangents, estimate

KURTOSIS = {"gaussian": 3, "rademacher": 1, "laplace": 6}
TREE = {"matrix": jnp.zeros((2, 3)), "scalar": jnp.zeros(())}
SIZE = 7


def flat(tree, axes=0):
    """The leaves side by side: (axes..., d)."""
    leaves = [np.asarray(leaf, np.float64) for leaf in jax.tree.leaves(tree)]
    return np.concatenate([leaf.reshape(*leaf.shape[:axes], -1) for leaf in leaves], axis=-1)


def curved(params):
    """A smooth loss of the tree, neither linear nor quadratic."""
    matrix, scalar = params["matrix"], params["scalar"]
    return jnp.sum(jnp.sin(matrix) * (1 + scalar)) + jnp.sum(jnp.cosh(scalar - matrix))


@pytest.fixture(scope="module")
def params():
    return {"matrix": jnp.asarray([[0.3, -0.7, 1.1], [0.2, 0.9, -0.4]]), "scalar": jnp.float32(0.5)}


# Random numbers.


@pytest.mark.parametrize(
    ("key", "counter", "words"),
    [  # the known answers published with the generator (Random123)
        ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
        ((2**32 - 1,) * 2, (2**32 - 1,) * 2, (0x1CB996FC, 0xBB002BE7)),
        ((0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3), (0xC4923A9C, 0x483DF7A0)),
    ],
)
def test_threefry_gives_the_known_answers(key, counter, words):
    key = tuple(jnp.uint32(word) for word in key)
    given = estimators._threefry(key, *(jnp.uint32(word) for word in counter))
    assert tuple(int(word) for word in given) == words


BIG = {"matrix": jnp.zeros((500, 200)), "odd": jnp.zeros((77, 13)), "vector": jnp.zeros(40_001)}


@pytest.fixture(scope="module", params=["gaussian", "rademacher", "laplace"])
def big(request):
    draw_big = jax.jit(partial(draw_tangents, request.param, params=BIG, tangents=2))
    return request.param, draw_big(key=jax.random.key(3))


def distribution(law):
    return {"gaussian": scipy.stats.norm(), "laplace": scipy.stats.laplace(scale=0.5**0.5)}[law]


def test_independent_numbers_have_the_moments_of_their_law(big):
    law, tangents = big
    numbers = flat(tangents).ravel()
    # E v^(2m), m = 1 to 4, from which the variance of the mean of v^(2m) or v^m follows.
    even = {"gaussian": (1, 3, 15, 105), "rademacher": (1, 1, 1, 1), "laplace": (1, 6, 90, 2520)}
    for power in (1, 2, 3, 4):
        expected = even[law][power // 2 - 1] if power % 2 == 0 else 0
        spread = math.sqrt((even[law][power - 1] - expected**2) / numbers.size)
        assert np.mean(numbers**power) == pytest.approx(expected, abs=4 * spread + 1e-12), power


@pytest.mark.parametrize("leaf", list(BIG))
def test_independent_numbers_have_the_distribution_of_their_law(big, leaf):
    law, tangents = big
    numbers = np.asarray(tangents[leaf], np.float64).ravel()
    if law == "rademacher":
        assert set(numbers) == {-1.0, 1.0}
        assert scipy.stats.binomtest(int(np.sum(numbers > 0)), numbers.size).pvalue > 1e-3
    else:
        assert scipy.stats.kstest(numbers, distribution(law).cdf).pvalue > 1e-3
        if leaf == "matrix":  # the control: a spread that is 5% wrong is seen
            assert scipy.stats.kstest(1.05 * numbers, distribution(law).cdf).pvalue < 1e-6


def test_tails_are_those_of_the_law(big):
    law, tangents = big
    if law != "rademacher":
        numbers = flat(tangents).ravel()
        for level in (2, 3, 4):
            beyond = int(np.sum(np.abs(numbers) > level))
            expected = 2 * distribution(law).sf(level)
            assert scipy.stats.binomtest(beyond, numbers.size, expected).pvalue > 1e-3, level


def correlated(left, right):
    """Whether two samples are correlated, in value or in square, by more than five errors."""
    left, right = np.ravel(left), np.ravel(right)
    pairs = [(left, right)]
    if np.ptp(left**2) > 0:
        pairs.append((left**2, right**2))
    return any(abs(np.corrcoef(*pair)[0, 1]) * math.sqrt(left.size) > 5 for pair in pairs)


def test_numbers_are_independent_of_their_neighbours(big):
    _, tangents = big
    matrix = np.asarray(tangents["matrix"], np.float64)  # (tangent, row, column)
    vector = np.asarray(tangents["vector"], np.float64)
    assert not correlated(matrix[0], matrix[1])  # tangents
    for lag in (1, 2, 8, 31, 32, 33, 64):
        assert not correlated(matrix[:, lag:], matrix[:, :-lag]), lag
        assert not correlated(matrix[:, :, lag:], matrix[:, :, :-lag]), lag
        assert not correlated(vector[:, lag:], vector[:, :-lag]), lag
    size = vector.shape[1]
    assert not correlated(matrix.reshape(2, -1)[:, :size], vector)  # leaves
    assert correlated(matrix[:, 1:] + 0.05 * matrix[:, :-1], matrix[:, :-1])  # the control


def test_leaves_of_one_shape_have_keys_of_their_own():
    twins = {"left": jnp.zeros((200, 50)), "right": jnp.zeros((200, 50))}
    for law in ("gaussian", "rademacher", "laplace"):
        run = jax.jit(partial(draw, law, params=twins))
        v, other = run(key=jax.random.key(0)), run(key=jax.random.key(1))
        assert not correlated(v["left"], v["right"]), law
        assert not correlated(v["left"], other["left"]), law
        assert correlated(v["left"], v["left"]), law


@pytest.mark.parametrize("law", LAWS)
def test_every_law_is_isotropic_over_the_whole_tree(law):
    number = 40_000
    keys = jax.random.split(jax.random.key(11), number)
    v = flat(jax.jit(jax.vmap(lambda key: draw(law, key, TREE)))(keys), axes=1)
    products = np.einsum("ni,nj->nij", v, v)
    error = products.std(axis=0) / math.sqrt(number) + 1e-6
    assert np.all(np.abs(products.mean(axis=0) - np.eye(SIZE)) < 5 * error)
    assert np.all(np.abs(v.mean(axis=0)) < 5 * v.std(axis=0) / math.sqrt(number)) == (
        law != "coordinate"  # whose numbers are never negative
    )


def test_laws_of_the_whole_tree_have_its_radius():
    v = flat(draw_tangents("sphere", jax.random.key(0), TREE, 50), axes=1)
    np.testing.assert_allclose(np.sum(v**2, axis=1), SIZE, rtol=1e-6)
    v = flat(draw_tangents("coordinate", jax.random.key(0), TREE, 50), axes=1)
    np.testing.assert_allclose(np.sort(v, axis=1), [[0] * (SIZE - 1) + [SIZE**0.5]] * 50, rtol=1e-7)
    v = flat(draw_tangents("orthogonal", jax.random.key(0), TREE, 5), axes=1)
    np.testing.assert_allclose(v @ v.T, SIZE * np.eye(5), atol=2e-5)


# Estimates.


def estimates(law, tangents, number, gradient):
    """``number`` independent estimates of a given gradient: (number, d)."""

    def one(key):
        return estimate(lambda p: p @ gradient, jnp.zeros_like(gradient), key, **options)[1]

    options = {"law": law, "tangents": tangents}
    keys = jax.random.split(jax.random.key(5), number)
    return np.asarray(jax.jit(jax.vmap(one))(keys), np.float64)


def relative_error(law, size, tangents):
    """The closed forms: independent numbers, then all of one norm, then orthogonal."""
    if law == "orthogonal":
        return size / tangents - 1
    return (size - 2 + KURTOSIS.get(law, 1)) / tangents


def within(values, expected, margin):
    """Equivalence: the mean's 99.9% interval lies within a share ``margin`` of what is expected."""
    error = 3.3 * values.std() / math.sqrt(values.size)
    return abs(values.mean() - expected) + error < margin * expected


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("tangents", [1, 3])
def test_bias_and_variance_follow_the_closed_forms(law, tangents):
    size = 8
    gradient = jnp.asarray([0.3, -1, 2, 0.5, -0.2, 1.5, -2.5, 0.1])
    g = np.asarray(gradient, np.float64)
    given = estimates(law, tangents, 100_000, gradient)

    def unbiased(given):
        return within(given @ g / (g @ g), 1, 0.05)

    def lawful(given):
        squares = np.sum((given - g) ** 2, axis=1) / (g @ g)
        return within(squares, relative_error(law, size, tangents), 0.1)

    assert unbiased(given)
    assert lawful(given)
    error = given.std(axis=0) / math.sqrt(len(given))
    assert np.all(np.abs(given.mean(axis=0) - g) < 5 * error)
    # The negative control: an estimator made 10% wrong must fail, by bias and by variance.
    assert not unbiased(1.1 * given)
    assert not lawful(1.1 * given)


@pytest.mark.parametrize("law", ["gaussian", "rademacher"])
def test_covariance_of_an_estimate(law):
    gradient = jnp.asarray([1.0, -2.0, 0.5])
    g = np.asarray(gradient, np.float64)
    centred = estimates(law, 1, 200_000, gradient) - g
    products = np.einsum("ni,nj->nij", centred, centred)
    expected = (g @ g) * np.eye(3) + np.outer(g, g)
    if law == "rademacher":  # kurtosis 1 takes 2 g_i^2 off the diagonal
        expected -= 2 * np.diag(g**2)
    error = products.std(axis=0) / math.sqrt(len(products))
    assert np.all(np.abs(products.mean(axis=0) - expected) < 5 * error)
    assert np.any(np.abs(1.21 * products.mean(axis=0) - expected) > 5 * error)


def test_as_many_orthogonal_tangents_as_parameters_are_exact():
    with jax.enable_x64(True):
        gradient = jnp.asarray(np.random.default_rng(0).normal(size=32), jnp.float64)
        point = {"a": jnp.zeros((4, 5), jnp.float64), "b": jnp.zeros(12, jnp.float64)}

        def loss(p):
            return jnp.concatenate([p["a"].ravel(), p["b"]]) @ gradient

        full = flat(estimate(loss, point, jax.random.key(0), law="orthogonal", tangents=32)[1])
        part = flat(estimate(loss, point, jax.random.key(0), law="orthogonal", tangents=31)[1])
    g = np.asarray(gradient)
    assert np.sum((full - g) ** 2) / np.sum(g**2) < 1e-20
    assert np.sum((part - g) ** 2) / np.sum(g**2) > 1e-6


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("tangents", [1, 4])
def test_an_estimate_is_the_mean_of_slope_times_tangent(law, tangents, params):
    @jax.jit
    def run(key):
        return (
            estimate(curved, params, key, law=law, tangents=tangents),
            draw_tangents(law, key, params, tangents),
            draw(law, key, params),
        )

    (value, given), drawn, alone = run(jax.random.key(2))
    v = flat(drawn, axes=1)
    expected_value, gradient = backprop(curved, params, jax.random.key(2))
    np.testing.assert_allclose(
        flat(given), (v @ flat(gradient)) @ v / tangents, rtol=2e-5, atol=1e-6
    )
    assert float(value) == pytest.approx(float(expected_value), rel=1e-6)
    if law != "orthogonal" or tangents == 1:
        np.testing.assert_allclose(flat(alone), v[0], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("law", ["rademacher", "orthogonal"])
@pytest.mark.parametrize("mode", ["jvp", "central_difference"])
def test_tangents_held_together_and_one_by_one_give_the_same(law, mode, params, monkeypatch):
    options = {"law": law, "mode": mode, "tangents": 6, "epsilon": 0.1 if mode != "jvp" else None}
    answers = []
    for held in (6, 3, 1):
        monkeypatch.setattr(estimators, "TANGENTS_AT_ONCE", held * SIZE)
        assert estimators._held(6, params) == held
        value, gradient = jax.jit(partial(estimate, curved, **options))(params, jax.random.key(4))
        assert jax.tree.map(jnp.shape, gradient) == jax.tree.map(jnp.shape, params)
        answers.append([float(value), *flat(gradient)])
    np.testing.assert_allclose(answers[1], answers[0], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(answers[2], answers[0], rtol=1e-4, atol=1e-5)


def test_memory_does_not_grow_with_the_number_of_tangents():
    point = jnp.zeros((400, 500))

    def temporary(tangents):
        program = jax.jit(
            partial(estimate, lambda p: jnp.sum(jnp.sin(p)), law="rademacher", tangents=tangents)
        )
        return program.lower(point, jax.random.key(0)).compile().memory_analysis()

    few, many = temporary(2), temporary(64)
    if few is None:
        pytest.skip("this backend does not say how much memory a program takes")
    assert many.temp_size_in_bytes < few.temp_size_in_bytes + point.nbytes


# Slopes.


@pytest.fixture(scope="module")
def quadratic():
    """f(p) = p.H p / 2 + b.p, in float64: its differences are known exactly."""
    random = np.random.default_rng(1)
    root, offset, point = random.normal(size=(5, 5)), random.normal(size=5), random.normal(size=5)
    return root @ root.T, offset, point


def differences(quadratic, mode, **options):
    """The value and estimate of one tangent, and that tangent."""
    with jax.enable_x64(True):
        hessian, offset, point = (jnp.asarray(part, jnp.float64) for part in quadratic)
        key = jax.random.key(3)
        value, gradient = estimate(
            lambda p: p @ hessian @ p / 2 + offset @ p, point, key, mode=mode, **options
        )
        return float(value), np.asarray(gradient), np.asarray(draw("gaussian", key, point))


@pytest.mark.parametrize("mode", MODES)
def test_slopes_of_a_quadratic(mode, quadratic):
    hessian, offset, point = quadratic
    step = 0.01
    value, given, v = differences(quadratic, mode, **({} if mode == "jvp" else {"epsilon": step}))
    here = point @ hessian @ point / 2 + offset @ point
    slope = (hessian @ point + offset) @ v
    curvature = v @ hessian @ v
    if mode == "forward_difference":
        slope += step / 2 * curvature
    if mode in ("central_difference", "evolution_strategies"):
        here += step**2 / 2 * curvature
    np.testing.assert_allclose(given, slope * v, rtol=1e-11)
    assert value == pytest.approx(here, rel=1e-13)


@pytest.mark.parametrize(
    ("mode", "steps"),
    [  # for machine epsilons of 2^-7, 2^-23 and 2^-52
        ("forward_difference", (2**-3.5, 2**-11.5, 2**-26)),
        ("central_difference", (2 ** (-7 / 3), 2 ** (-23 / 3), 2 ** (-52 / 3))),
        ("evolution_strategies", (0.02, 0.02, 0.02)),
    ],
)
def test_the_default_steps_are_those_documented(mode, steps):
    for dtype, step in zip(("bfloat16", "float32", "float64"), steps, strict=True):
        seen = []

        def loss(point, seen=seen):
            seen.append(np.asarray(point, np.float64))
            return point[0]

        with jax.enable_x64(True):
            estimate(loss, jnp.zeros(1, dtype), jax.random.key(0), law="rademacher", mode=mode)
        assert max(map(abs, seen)) == pytest.approx(step, rel=1e-2 if dtype == "bfloat16" else 1e-6)


@pytest.mark.parametrize("mode", [mode for mode in MODES if mode != "jvp"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_differences_at_their_default_steps_come_near_the_slope(mode, dtype, params):
    with jax.enable_x64(True):
        point = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), params)
        exact = flat(estimate(curved, point, jax.random.key(0))[1])
        given = flat(estimate(curved, point, jax.random.key(0), mode=mode)[1])
    error = np.linalg.norm(given - exact) / np.linalg.norm(exact)
    small = {"forward_difference": 1e-2, "central_difference": 1e-3, "evolution_strategies": 1e-2}
    assert 0 < error < small[mode]
    if dtype == "float64" and mode != "evolution_strategies":
        assert error < 1e-6


def test_epsilon_and_clip_may_be_swept(params):
    steps = jnp.asarray([1e-2, 1e-1])

    def swept(step):
        return estimate(curved, params, jax.random.key(0), mode="central_difference", epsilon=step)

    values, gradients = jax.vmap(swept)(steps)
    for number, step in enumerate((1e-2, 1e-1)):
        value, gradient = swept(step)
        assert float(values[number]) == pytest.approx(float(value), rel=1e-5)
        np.testing.assert_allclose(flat(gradients, axes=1)[number], flat(gradient), rtol=1e-3)


def test_clip_cuts_every_slope(params):
    key = jax.random.key(0)
    v = flat(draw_tangents("gaussian", key, params, 5), axes=1)
    slopes = v @ flat(backprop(curved, params, key)[1])
    bound = float(np.median(np.abs(slopes)))  # so that some are cut, and some are not
    _, given = estimate(curved, params, key, tangents=5, clip=bound)
    np.testing.assert_allclose(flat(given), np.clip(slopes, -bound, bound) @ v / 5, rtol=1e-4)


# What every estimator owes its caller.


def test_backprop_is_the_gradient_and_needs_no_key(params):
    value, gradient = backprop(curved, params, None)
    assert float(value) == float(curved(params))
    np.testing.assert_array_equal(flat(gradient), flat(jax.grad(curved)(params)))


@pytest.mark.parametrize("law", LAWS)
def test_a_key_decides_everything(law, params):
    run = jax.jit(partial(estimate, curved, law=law, tangents=2))
    first, again = run(params, jax.random.key(1)), run(params, jax.random.key(1))
    other = run(params, jax.random.key(2))
    np.testing.assert_array_equal(flat(first), flat(again))
    assert np.any(flat(first[1]) != flat(other[1]))


def test_keys_may_be_raw_or_of_another_generator(params):
    typed = estimate(curved, params, jax.random.key(1))
    raw = estimate(curved, params, jax.random.key_data(jax.random.key(1)))
    np.testing.assert_array_equal(flat(typed), flat(raw))
    other = [flat(estimate(curved, params, jax.random.key(n, impl="rbg"))) for n in (1, 2)]
    assert np.any(other[0] != other[1])


@pytest.mark.parametrize("mode", MODES)
def test_a_lane_gives_what_it_gives_alone(mode, params):
    keys = jax.random.split(jax.random.key(9), 3)
    lanes = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf + 0.5, -leaf]), params)
    epsilon = None if mode == "jvp" else 0.5  # no round-off to speak of
    run = jax.jit(partial(estimate, curved, mode=mode, tangents=2, epsilon=epsilon))
    together = jax.vmap(run)(lanes, keys)
    alone = [flat(run(jax.tree.map(itemgetter(lane), lanes), keys[lane])) for lane in range(3)]
    np.testing.assert_allclose(flat(together, axes=1), alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("law", LAWS)
def test_a_lane_draws_the_numbers_it_draws_alone(law):
    keys = jax.random.split(jax.random.key(9), 3)
    run = jax.jit(lambda key: draw_tangents(law, key, TREE, 4))
    together = flat(jax.vmap(run)(keys), axes=2)
    alone = [flat(run(key), axes=1) for key in keys]
    np.testing.assert_allclose(together, alone, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("law", LAWS)
@pytest.mark.parametrize("dtypes", [("bfloat16",), ("float64",), ("bfloat16", "float32")])
def test_gradients_have_the_dtypes_of_the_parameters(law, dtypes):
    def loss(leaves):
        return sum(jnp.sum(jnp.square(leaf.astype(jnp.float32))) for leaf in leaves)

    def run(key):
        return (
            estimate(loss, point, key, law=law, tangents=2)[1],
            estimate(loss, point, key, law=law, tangents=2, mode="central_difference")[1],
        )

    with jax.enable_x64(True):
        point = [jnp.full((3, 2), 0.5, dtype) for dtype in dtypes]
        for gradient in jax.eval_shape(run, jax.random.key(0)):
            assert [leaf.dtype for leaf in gradient] == list(dtypes)
        if len(dtypes) == 2:  # compiled once a law
            assert all(np.all(np.isfinite(flat(each))) for each in jax.jit(run)(jax.random.key(0)))


@pytest.mark.parametrize("law", LAWS)
def test_one_key_gives_the_same_tangents_in_two_precisions(law):
    with jax.enable_x64(True):
        trees = [[jnp.zeros((3, 4), dtype)] for dtype in ("float32", "float64")]
        tangents = [flat(draw_tangents(law, jax.random.key(0), tree, 3), axes=1) for tree in trees]
    np.testing.assert_allclose(*tangents, rtol=1e-5, atol=1e-6)


def test_a_scan_of_steps_descends():
    def step(point, key):
        value, gradient = estimate(lambda p: jnp.sum(jnp.square(p)), point, key, law="rademacher")
        return point - 0.05 * gradient, value

    _, values = jax.jit(partial(jax.lax.scan, step))(
        jnp.ones(8), jax.random.split(jax.random.key(0), 200)
    )
    assert values[0] == 8
    assert values[-1] < 1e-3 * values[0]


@pytest.mark.parametrize("law", LAWS)
def test_every_law_lowers_for_other_platforms(law, params):
    def lanes(params, keys):
        return jax.vmap(
            lambda key: (
                estimate(curved, params, key, law=law, tangents=4),
                estimate(curved, params, key, law=law, mode="central_difference"),
            )
        )(keys)

    keys = jax.random.key_data(jax.random.split(jax.random.key(0), 2))
    exported = jax.export.export(jax.jit(lanes), platforms=("cuda", "tpu"))(params, keys)
    assert exported.platforms == ("cuda", "tpu")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"law": "gausian"}, "'gaussian'"),
        ({"mode": "jpv"}, "'jvp'"),
        ({"tangents": 0}, "at least 1, not 0"),
        ({"tangents": True}, "at least 1, not True"),
        ({"tangents": 2.0}, "at least 1, not 2.0"),
        ({"law": "orthogonal", "tangents": SIZE + 1}, "only 7 orthogonal tangents"),
        ({"mode": "central_difference", "epsilon": 0.0}, "epsilon must be"),
        ({"mode": "central_difference", "epsilon": math.nan}, "epsilon must be"),
        ({"mode": "forward_difference", "epsilon": math.inf}, "epsilon must be"),
        ({"epsilon": 0.1}, "has no epsilon"),
        ({"clip": -1.0}, "clip must be"),
    ],
)
def test_a_mistake_is_a_problem(options, words, params):
    with pytest.raises(Problem, match=words):
        estimate(curved, params, jax.random.key(0), **options)


def test_parameters_and_losses_that_cannot_be(params):
    key = jax.random.key(0)
    with pytest.raises(Problem, match="float parameters"):
        estimate(lambda p: p[0], [jnp.float32(1), jnp.int32(1)], key)
    with pytest.raises(Problem, match="no parameters"):
        estimate(lambda p: jnp.float32(0), [], key)
    with pytest.raises(Problem, match=r"scalar, not of shape \(2, 3\)"):
        estimate(lambda p: p["matrix"], params, key)
    with pytest.raises(Problem, match="law"):
        draw("normal", key, params)
    with pytest.raises(Problem, match="only 7 orthogonal"):
        draw_tangents("orthogonal", key, params, 12)
