"""Gradient estimators: (loss, params, key) -> (value, gradient).

`backprop` is the exact gradient. `estimate` needs no reverse pass: it draws random tangents v with
E[v v^T] = I, takes the slope of the loss along each, and averages slope * v. The expectation is the
gradient if the slopes are exact (Baydin, Pearlmutter, Syme, Wood and Torr, "Gradients without
Backpropagation", 2022).

On a CPU, random numbers would dominate the cost, for two reasons addressed here. `jax.random` rolls
its Threefry generator into a loop whose state goes through memory five times; `_threefry` is the
same function unrolled, which XLA fuses into one pass. And no number uses more bits than it needs: a
32-bit word gives 32 signs or two Gaussian numbers. The numbers are the same on every backend, alone
or in a vmapped lane, up to the rounding of a logarithm.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from jaxtrends.errors import Problem, choose

PyTree = Any
Loss = Callable[[PyTree], jax.Array]  # params -> scalar; the batch is already bound
Estimator = Callable[[Loss, PyTree, jax.Array], tuple[jax.Array, PyTree]]
Seed = tuple[jax.Array, jax.Array]  # a Threefry key: two uint32 words

LAWS = {
    "gaussian": "independent standard normal numbers",
    "rademacher": "independent signs, +1 or -1",
    "laplace": "independent double-exponential numbers of variance 1",
    "sphere": "uniform on the sphere of radius sqrt(d), over the whole tree",
    "coordinate": "sqrt(d) times one unit vector of the whole tree, each equally likely",
    "orthogonal": "sqrt(d) times k orthonormal vectors of the whole tree, uniform (Haar)",
}
"""The distributions of a tangent; all have E[v v^T] = I."""

MODES = {
    "jvp": "exact, by forward-mode differentiation",
    "forward_difference": "(f(p + e v) - f(p)) / e",
    "central_difference": "(f(p + e v) - f(p - e v)) / 2 e, as in SPSA and MeZO",
    "evolution_strategies": "the same for a mirrored pair, with a search distance e that is large",
}
"""How the slope along a tangent is computed."""

SEARCH_DISTANCE = 0.02  # the default epsilon of evolution strategies
# Maximum numbers in the tangents held together. Vmapping saves calls of tiny programs, but turns
# the products of larger ones into batched products, which are slow on a CPU: sixteen tangents of
# an MLP with 101,770 parameters took 77 ms vmapped, 25 ms four at a time and 13 ms one by one.
TANGENTS_AT_ONCE = 2**16


def backprop(loss: Loss, params: PyTree, key: jax.Array) -> tuple[jax.Array, PyTree]:
    """The loss and its gradient by reverse-mode differentiation; ``key`` is not used.

    Args:
        loss: params -> scalar.
        params: a tree of float arrays.
        key: ignored; all estimators have the same signature.
    """
    return jax.value_and_grad(loss)(params)


def estimate(
    loss: Loss,
    params: PyTree,
    key: jax.Array,
    *,
    law: str = "gaussian",
    tangents: int = 1,
    mode: str = "jvp",
    epsilon: float | jax.Array | None = None,
    clip: float | jax.Array | None = None,
) -> tuple[jax.Array, PyTree]:
    """Estimate the gradient as the mean over k tangents v of (slope of the loss along v) * v.

    With exact slopes (``jvp``) and without ``clip`` the estimate is unbiased. Its relative mean
    squared error, E||estimate - g||^2 / ||g||^2 at d parameters, is (d - 2 + kappa) / k for
    independent components of kurtosis kappa (gaussian 3, rademacher 1, laplace 6), (d - 1) / k for
    ``sphere`` and ``coordinate``, and d / k - 1 for ``orthogonal`` (derived; from
    E||v (v.g)||^2 = (d - 1 + kappa) ||g||^2).

    Finite differences have their own errors: truncation, which grows with epsilon, and round-off,
    which grows as epsilon falls. The defaults balance the two for losses and parameters of order
    one: with u the machine epsilon of the least precise leaf, sqrt(u) for ``forward_difference``
    (3.5e-4 in float32, 1.5e-8 in float64) and the cube root of u for ``central_difference`` (4.9e-3
    and 6.1e-6).

    ``evolution_strategies`` is the estimator of Salimans et al. ("Evolution Strategies as a
    Scalable Alternative to Reinforcement Learning", 2017) with mirrored pairs and without fitness
    shaping: a population of 2 k members, each weighted with its loss. Mirroring cancels every
    baseline, so the arithmetic is that of ``central_difference``. The aim differs: epsilon is a
    search distance (0.02 by default), and for Gaussian tangents the estimate is unbiased for the
    gradient of the smoothed loss E f(p + epsilon v), not of f.

    Memory: the tangents held at once, with their activations, have at most `TANGENTS_AT_ONCE`
    numbers (256 KiB in float32), or are a single tangent; the largest such divisor of k is vmapped,
    the rest scanned. ``orthogonal`` holds all k tangents twice, about 2 k d numbers. A vmap over
    lanes multiplies all of this. The same key always gives the same tangents.

    Args:
        loss: params -> scalar. All tangents see the same batch.
        params: a tree of float arrays.
        key: a JAX key, typed or raw. Typed keys of generators other than Threefry serve as seeds.
        law: the distribution of the tangents, one of `LAWS`.
        tangents: k, at least 1; at most d for ``orthogonal``.
        mode: how slopes are computed, one of `MODES`.
        epsilon: the step size of finite differences, above zero; None for the default above. May
            be traced.
        clip: clip every slope to [-clip, clip]. This biases the estimate; some public
            implementations do it. May be traced.

    Returns:
        The loss: f(params) for ``jvp`` and ``forward_difference``; for the other two the mean over
        all evaluated points, which estimates E f(p + epsilon v). And the estimate, a tree like
        ``params``.

    Raises:
        Problem: an unknown law or mode; a number of tangents, an epsilon or a clip out of range;
            an epsilon for ``jvp``; parameters that are not all floats; a loss that is not scalar.
    """
    choose("mode", mode, MODES)
    _check_tangents(law, tangents, params)
    for name, given in (("epsilon", epsilon), ("clip", clip)):
        if isinstance(given, int | float) and not 0 < given < math.inf:
            raise Problem(f"{name} must be a finite number above zero, not {given!r}.")
    if mode == "jvp" and epsilon is not None:
        raise Problem(
            "mode jvp is exact and has no epsilon: leave out epsilon, or choose another mode."
        )

    slope_along = _slopes(loss, params, mode, epsilon)
    draw_some = _drawer(law, _seed(key), params, tangents)

    def at(indices: jax.Array) -> tuple[jax.Array, PyTree]:
        """The losses for some tangents, and the sum of slope * v over them."""
        some = draw_some(indices)
        values, slopes = slope_along(some) if indices.ndim == 0 else jax.vmap(slope_along)(some)
        if clip is not None:
            bound = jnp.asarray(clip, slopes.dtype)
            slopes = jnp.clip(slopes, -bound, bound)
        return values, jax.tree.map(lambda v: _weighted(slopes, v), some)

    if tangents == 1:
        value, total = at(jnp.uint32(0))
    else:
        value, total = _accumulate(at, tangents, _held(tangents, params))
        exact = mode in ("jvp", "forward_difference")  # every tangent came with f(params)
        value = value[0] if exact else jnp.mean(value)
    gradient = jax.tree.map(lambda t, p: (t / tangents).astype(p.dtype), total, params)
    return value, gradient


def draw(law: str, key: jax.Array, params: PyTree) -> PyTree:
    """Draw one tangent, a tree like ``params`` with E[v v^T] = I, as ``estimate`` does for k = 1.

    Numbers are drawn in float32 and rounded to each leaf's dtype, so a key gives the same tangent
    in float32 and float64. A Gaussian number is at most 5.40 in size, which cuts off one in fifteen
    million, and a Laplace number at most 15.7: each comes from 32 bits, and two Gaussian numbers
    share 32 bits.

    Raises:
        Problem: an unknown law, or parameters that are not all floats.
    """
    _check_tangents(law, 1, params)
    return _drawer(law, _seed(key), params, 1)(jnp.uint32(0))


def draw_tangents(law: str, key: jax.Array, params: PyTree, tangents: int) -> PyTree:
    """Draw k tangents as `draw` does: a tree like ``params`` with a leading axis of length k.

    Raises:
        Problem: an unknown law, parameters that are not all floats, fewer than one tangent, or more
            orthogonal ones than there are parameters.
    """
    _check_tangents(law, tangents, params)
    return _drawer(law, _seed(key), params, tangents)(jnp.arange(tangents, dtype=jnp.uint32))


def _check_tangents(law: str, tangents: int, params: PyTree) -> None:
    choose("law", law, LAWS)
    leaves = jax.tree.leaves(params)
    if not all(jnp.issubdtype(jnp.result_type(leaf), jnp.floating) for leaf in leaves):
        raise Problem("Gradients need float parameters: keep others out of the tree.")
    size = _size(params)
    if size == 0:
        raise Problem("There are no parameters to estimate a gradient for.")
    if isinstance(tangents, bool) or not isinstance(tangents, int) or tangents < 1:
        raise Problem(f"tangents must be a whole number of at least 1, not {tangents!r}.")
    if law == "orthogonal" and tangents > size:
        raise Problem(
            f"{size} parameters have only {size} orthogonal tangents, not {tangents}: use fewer "
            "tangents, or another law."
        )


def _size(params: PyTree) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def _slopes(
    loss: Loss, params: PyTree, mode: str, epsilon: float | jax.Array | None
) -> Callable[[PyTree], tuple[jax.Array, jax.Array]]:
    """A function of one tangent that returns the loss and its slope along it."""

    def scalar(params: PyTree) -> jax.Array:
        value = loss(params)
        if jnp.shape(value) != ():
            raise Problem(f"The loss must be a scalar, not of shape {jnp.shape(value)}.")
        return value

    if mode == "jvp":
        return lambda v: jax.jvp(scalar, (params,), (v,))

    coarsest = max(float(jnp.finfo(leaf.dtype).eps) for leaf in jax.tree.leaves(params))
    defaults = {"forward_difference": coarsest**0.5, "central_difference": coarsest ** (1 / 3)}
    step = defaults.get(mode, SEARCH_DISTANCE) if epsilon is None else epsilon

    def beside(v: PyTree, distance: float | jax.Array) -> jax.Array:
        return scalar(jax.tree.map(lambda p, t: p + jnp.asarray(distance, p.dtype) * t, params, v))

    if mode == "forward_difference":
        here = scalar(params)
        return lambda v: (here, (beside(v, step) - here) / jnp.asarray(step, here.dtype))

    def mirrored(v: PyTree) -> tuple[jax.Array, jax.Array]:
        plus, minus = beside(v, step), beside(v, -step)
        return (plus + minus) / 2, (plus - minus) / jnp.asarray(2 * step, plus.dtype)

    return mirrored


def _weighted(slopes: jax.Array, v: jax.Array) -> jax.Array:
    """The sum over tangents of slope * v, in the widest of their dtypes and at least float32."""
    wide = max(slopes.dtype, v.dtype, jnp.dtype(jnp.float32), key=lambda dtype: dtype.itemsize)
    if slopes.ndim == 0:
        return slopes.astype(wide) * v.astype(wide)
    weights = jnp.expand_dims(slopes.astype(wide), range(1, v.ndim))
    return jnp.sum(weights * v.astype(wide), axis=0)


def _held(tangents: int, params: PyTree) -> int:
    """The largest divisor of the number of tangents that may be held at once."""
    most = max(TANGENTS_AT_ONCE // _size(params), 1)
    return max(n for n in range(1, min(tangents, most) + 1) if tangents % n == 0)


def _accumulate(
    at: Callable[[jax.Array], tuple[jax.Array, PyTree]], tangents: int, held: int
) -> tuple[jax.Array, PyTree]:
    """The losses for all tangents, and the sum of slope * v, ``held`` tangents at a time."""
    indices = jnp.arange(tangents, dtype=jnp.uint32)
    if held == tangents:
        return at(indices)

    def add(total: PyTree, indices: jax.Array) -> tuple[PyTree, jax.Array]:
        values, some = at(indices)
        return jax.tree.map(jnp.add, total, some), values

    blocks = indices if held == 1 else indices.reshape(-1, held)
    shapes = jax.eval_shape(at, blocks[0])[1]
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
    total, values = jax.lax.scan(add, zeros, blocks)
    return values.reshape(-1), total


# Distributions: trees of random numbers.


def _drawer(law: str, seed: Seed, params: PyTree, tangents: int) -> Callable[[jax.Array], PyTree]:
    """A function of indices that returns tangents: () -> one tree, (n,) -> leading axis n."""
    if law == "orthogonal":
        everything = _orthogonal(seed, params, tangents)
        return lambda indices: jax.tree.map(lambda leaf: leaf[indices], everything)

    def one(index: jax.Array) -> PyTree:
        child = _child(seed, index)
        if law == "coordinate":
            return _coordinate(child, params)
        if law == "sphere":
            return _sphere(child, params)
        return _independent(law, child, params)

    return lambda indices: one(indices) if indices.ndim == 0 else jax.vmap(one)(indices)


def _independent(law: str, seed: Seed, params: PyTree) -> PyTree:
    leaves, treedef = jax.tree.flatten(params)
    numbers = _numbers(law, seed, tuple(leaf.shape for leaf in leaves))
    return treedef.unflatten(
        [part.astype(leaf.dtype) for part, leaf in zip(numbers, leaves, strict=True)]
    )


def _sphere(seed: Seed, params: PyTree) -> PyTree:
    wide = _wide(params)
    normal = jax.tree.map(lambda v: v.astype(wide), _independent("gaussian", seed, params))
    square = sum(jnp.sum(jnp.square(v)) for v in jax.tree.leaves(normal))
    scale = jnp.sqrt(_size(params) / square)
    return jax.tree.map(lambda v, p: (v * scale).astype(p.dtype), normal, params)


def _coordinate(seed: Seed, params: PyTree) -> PyTree:
    size = _size(params)
    key = jax.random.wrap_key_data(jnp.stack(seed), impl="threefry2x32")
    chosen = jax.random.randint(key, (), 0, size, jnp.int32)
    at = jnp.arange(size, dtype=jnp.int32)
    return _unflatten(jnp.where(at == chosen, jnp.float32(size**0.5), jnp.float32(0)), params)


def _orthogonal(seed: Seed, params: PyTree, tangents: int) -> PyTree:
    """A Gaussian matrix orthonormalised row by row, which is uniform (Mezzadri, 2007).

    Gram-Schmidt, with every row projected twice to stay orthogonal up to rounding. Not
    `jnp.linalg.qr`: on a CPU, concurrent batches of LAPACK calls wait for each other's threads, and
    deadlock if there are few (jaxlib 0.10.2, two cores).
    """
    size = _size(params)
    (normal,) = _numbers("gaussian", _child(seed, jnp.uint32(0)), ((tangents, size),))
    normal = normal.astype(_wide(params))

    def orthogonalise(number: jax.Array, rows: jax.Array) -> jax.Array:
        row = normal[number]
        for _ in range(2):
            shares = jnp.matmul(rows, row, precision="highest")
            row = row - jnp.matmul(shares, rows, precision="highest")
        return rows.at[number].set(row / jnp.sqrt(jnp.sum(jnp.square(row))))

    rows = jax.lax.fori_loop(0, tangents, orthogonalise, jnp.zeros_like(normal))
    return _unflatten(rows * jnp.asarray(size**0.5, rows.dtype), params)


def _wide(params: PyTree) -> jnp.dtype:
    dtypes = [leaf.dtype for leaf in jax.tree.leaves(params)]
    return max(*dtypes, jnp.dtype(jnp.float32), key=lambda dtype: dtype.itemsize)


def _unflatten(flat: jax.Array, params: PyTree) -> PyTree:
    """Split the last axis of ``flat`` into a tree like ``params``, keeping earlier axes."""
    leaves, treedef = jax.tree.flatten(params)
    ends = [sum(leaf.size for leaf in leaves[:number]) for number in range(1, len(leaves))]
    parts = jnp.split(flat, ends, axis=-1)
    return treedef.unflatten(
        [
            part.reshape(flat.shape[:-1] + leaf.shape).astype(leaf.dtype)
            for part, leaf in zip(parts, leaves, strict=True)
        ]
    )


# Random numbers: float32 arrays from a Threefry key.


def _seed(key: jax.Array) -> Seed:
    data = jax.random.key_data(key)
    if data.shape != (2,):  # a generator other than Threefry
        data = jax.random.bits(key, (2,), jnp.uint32)
    return data[0], data[1]


def _child(seed: Seed, index: jax.Array) -> Seed:
    """Child seed number ``index`` of a seed, as in `jax.random.split`."""
    return _threefry(seed, jnp.zeros_like(index), index)


def _threefry(seed: Seed, high: jax.Array, low: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Threefry-2x32 with 20 rounds: two uint32 words of random bits for each pair of counters.

    The same function as in `jax.random`: Salmon, Moraes, Dror and Shaw, "Parallel Random Numbers:
    As Easy as 1, 2, 3", 2011.
    """
    keys = (*seed, seed[0] ^ seed[1] ^ jnp.uint32(0x1BD11BDA))
    rotations = ((13, 15, 26, 6), (17, 29, 16, 24))
    high, low = high + keys[0], low + keys[1]
    for group in range(5):
        for rotation in rotations[group % 2]:
            high = high + low
            low = (low << jnp.uint32(rotation)) | (low >> jnp.uint32(32 - rotation))
            low = low ^ high
        high = high + keys[(group + 1) % 3]
        low = low + keys[(group + 2) % 3] + jnp.uint32(group + 1)
    return high, low


def _words(seed: Seed, count: int) -> jax.Array:
    """At least ``count`` random words of 32 bits; word i belongs to the counters (0, i).

    They are generated in a loop of two steps, because XLA does not fuse across a loop. Fused with
    their consumers, words would be computed again for every number that shares one, and for every
    use of the numbers.
    """
    half = -(-count // 32) * 16  # whole vectors
    places = jnp.arange(half, dtype=jnp.uint32)
    starts = jnp.arange(2, dtype=jnp.uint32) * jnp.uint32(half)
    words = jax.lax.map(lambda start: _child(seed, start + places)[0], starts)
    return words.reshape(2 * half)


# Jitted, since eager execution would take seconds when called on its own.
@partial(jax.jit, static_argnames=("law", "shapes"))
def _numbers(law: str, seed: Seed, shapes: tuple[tuple[int, ...], ...]) -> list[jax.Array]:
    """Independent numbers of one distribution for every leaf; words are shared within a leaf only.

    A leaf is a matrix with its leading axes as rows. The numbers of one word are in consecutive
    rows, so they are made from whole rows of words, without index arithmetic.
    """
    make, most = SAMPLERS[law]
    folds = [_fold(shape, most) for shape in shapes]
    ends = list(itertools.accumulate(blocks * columns for blocks, _, columns in folds))
    words = _words(seed, ends[-1])
    numbers = []
    for shape, (blocks, share, columns), end in zip(shapes, folds, ends, strict=True):
        own = words[end - blocks * columns : end].reshape(blocks, 1, columns)
        member = jax.lax.broadcasted_iota(jnp.uint32, (blocks, share, columns), 1)
        size = math.prod(shape)
        rows = make(own, member).reshape(blocks * share, columns)[: -(-size // columns)]
        numbers.append(rows.reshape(-1)[:size].reshape(shape))
    return numbers


def _fold(shape: tuple[int, ...], share: int) -> tuple[int, int, int]:
    """For a leaf's matrix: blocks of rows, rows that share a row of words, and columns."""
    rows, columns = math.prod(shape[:-1]), math.prod(shape[-1:])
    if rows < share <= rows * columns // 1024:  # a long vector
        rows, columns = -(-rows * columns // 1024), 1024
    if rows < share:
        share = 1
    return -(-rows // share), share, columns


def _signs(words: jax.Array, member: jax.Array) -> jax.Array:
    """Random signs: number j of a word is its bit 31 - j."""
    return _flip(jnp.ones(member.shape, jnp.float32), words << member)


def _normals(words: jax.Array, member: jax.Array) -> jax.Array:
    """Standard normal numbers, two per word, as coordinates of a point (Box and Muller).

    The upper 20 bits give the radius, at the midpoints of 2^20 equally likely steps: at most 5.40,
    with a second moment accurate to 4e-7. The lower 12 bits give one of 4096 angles: all moments of
    a pair, up to degree 4095, are those of a uniform angle. The angle is folded to (-pi/2, pi/2)
    and a sign, where a Taylor polynomial of degree 11 gives the sine to 6e-8, at a tenth of the
    cost of `jnp.sin`.
    """
    middle = (words >> jnp.uint32(12)).astype(jnp.float32) + jnp.float32(0.5)
    radius = jnp.sqrt(-2 * jnp.log(middle * jnp.float32(2**-20)))
    turn = words + (member << jnp.uint32(10))  # a quarter turn for the second number
    angle = (turn & jnp.uint32(2047)).astype(jnp.float32) - jnp.float32(1023.5)
    angle = angle * jnp.float32(math.pi / 2048)
    square = angle * angle
    sine = jnp.zeros_like(angle)
    for power in range(11, 0, -2):
        sine = sine * square + jnp.float32((-1) ** (power // 2) / math.factorial(power))
    return _flip(radius * (sine * angle), turn << jnp.uint32(20))


def _laplaces(words: jax.Array, member: jax.Array) -> jax.Array:
    """Double-exponential numbers of variance 1: a sign, and -log(uniform) / sqrt(2).

    The lower 31 bits of a word give the uniform, at midpoints of equal steps and hence never 0; a
    number is at most 15.7.
    """
    middle = (words & jnp.uint32(2**31 - 1)).astype(jnp.float32) + jnp.float32(0.5)
    return _flip(jnp.log(middle * jnp.float32(2**-31)) * jnp.float32(-(0.5**0.5)), words)


def _flip(numbers: jax.Array, words: jax.Array) -> jax.Array:
    """Flip the sign of float32 numbers where the highest bit of a word is set."""
    bits = jax.lax.bitcast_convert_type(numbers, jnp.uint32)
    return jax.lax.bitcast_convert_type(bits ^ (words & jnp.uint32(2**31)), jnp.float32)


# How numbers are made from words, and how many share a word.
SAMPLERS = {"gaussian": (_normals, 2), "rademacher": (_signs, 32), "laplace": (_laplaces, 1)}
