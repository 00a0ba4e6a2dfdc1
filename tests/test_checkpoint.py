"""Checkpoints come back bit for bit, or not at all."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxtrends.checkpoint import Checkpoints
from jaxtrends.errors import Problem


class Pair(NamedTuple):
    first: jax.Array
    second: jax.Array


def make_state(step: int):
    """A state of every kind of leaf, of which every value depends on ``step``."""
    random = np.random.default_rng(step)
    words = random.integers(2**32, size=(4, 2), dtype=np.uint32)
    return {
        "parameters": Pair(
            jnp.asarray(random.normal(size=(3, 5)), jnp.float32),
            jnp.asarray(random.normal(size=7), jnp.bfloat16),
        ),
        "keys": [jax.random.wrap_key_data(words), jax.random.key(step, impl="rbg")],
        "counts": (jnp.asarray(step, jnp.int32), np.int64(step), step, float(step)),
        "numpy": np.arange(6, dtype=np.float64) + step,
        "flags": np.array([step % 2 == 0, True]),
        "nothing": np.zeros((0, 4), np.float32),
        "not a number": np.array([np.nan, -0.0, np.inf]),
        "a/b.c": jnp.asarray([step], jnp.uint8),
    }


def assert_same_bits(one, other):
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        assert type(a) is type(b)
        if isinstance(a, jax.Array) and jax.dtypes.issubdtype(a.dtype, jax.dtypes.prng_key):
            assert a.dtype == b.dtype
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        a, b = np.asarray(a), np.asarray(b)
        assert (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())


def save_steps(directory: Path, steps, **options):
    with Checkpoints(directory, **options) as checkpoints:
        for step in steps:
            checkpoints.save(step, make_state(step))


def restore(directory: Path, like=None):
    said = []
    with Checkpoints(directory, report=said.append) as checkpoints:
        found = checkpoints.restore(make_state(0) if like is None else like)
    return found, said


def test_round_trip_is_bit_equal_for_every_kind_of_leaf(tmp_path):
    save_steps(tmp_path, [3, 10, 11], keep=2)
    (step, state), said = restore(tmp_path)
    assert step == 11
    assert_same_bits(state, make_state(11))
    assert said == []
    assert sorted(int(path.name) for path in tmp_path.iterdir()) == [10, 11]


def test_structs_restore_as_arrays_without_narrowing(tmp_path):
    state = {"a": np.arange(3.0), "key": jax.random.key(1)}
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, state)
    like = {
        "a": jax.ShapeDtypeStruct((3,), np.float64),
        "key": jax.ShapeDtypeStruct((), jax.random.key(0).dtype),
    }
    (_, restored), _ = restore(tmp_path, like)
    assert isinstance(restored["a"], jax.Array)
    assert restored["a"].dtype == np.float64
    assert np.asarray(restored["a"]).tobytes() == state["a"].tobytes()
    assert jax.random.key_data(restored["key"]).tolist() == [0, 1]
    assert not restored["key"].committed  # an array that was free to move is so again


def test_buffers_may_be_donated_as_soon_as_save_returns(tmp_path):
    step = jax.jit(lambda x: x + 1, donate_argnums=0)
    state = jnp.zeros((256, 256))
    with Checkpoints(tmp_path) as checkpoints:
        for index in range(3):
            checkpoints.save(index, state)
            for _ in range(20):
                state = step(state)
    (index, restored), _ = restore(tmp_path, state)
    assert index == 2
    np.testing.assert_array_equal(restored, np.full((256, 256), 40.0, np.float32))


def test_nothing_to_restore(tmp_path):
    assert restore(tmp_path / "new") == (None, [])


def test_relative_directory_and_foreign_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here" / "notes").mkdir(parents=True)
    (tmp_path / "here" / "damaged-1").mkdir()
    save_steps(Path("here"), [1])
    (step, _), said = restore(tmp_path / "here")
    assert (step, said) == (1, [])


def flip(path: Path, position: int):
    content = bytearray(path.read_bytes())
    content[position] ^= 0b100
    path.write_bytes(content)


def test_one_flipped_byte_anywhere_is_never_restored(tmp_path):
    """Whichever file it is in: what comes back is bit-equal to the newest step or the one before.

    A flip can be harmless (a time stamp), but then the values have passed their digests.
    """
    save_steps(tmp_path / "good", [1, 2])
    files = [path for path in (tmp_path / "good" / "2").rglob("*") if path.stat().st_size]
    files = [path.relative_to(tmp_path) for path in files if path.is_file()]
    assert len(files) > 5
    fell_back = set()
    for index, file in enumerate(files):
        copy = tmp_path / str(index)
        shutil.copytree(tmp_path / "good", copy)
        target = copy / file.relative_to("good")
        flip(target, target.stat().st_size // 2)
        (step, state), said = restore(copy)
        assert_same_bits(state, make_state(step))
        assert (step, len(said)) in {(2, 0), (1, 1)}
        if step == 1:
            assert "The checkpoint of step 2 in" in said[0]
            assert said[0].endswith("set aside: trying 1.")
            fell_back.add(file.parts[2])
    assert {"manifest", "state"} <= fell_back


def test_flipped_array_byte_is_caught_by_the_digest_alone(tmp_path):
    """The control: Orbax restores the same bytes without a word."""
    import orbax.checkpoint as orbax

    state = {"a": np.full(4096, 0x5A, np.uint8)}
    random = np.frombuffer(np.random.default_rng(0).bytes(4096), np.uint8)  # does not compress
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, state)
        checkpoints.save(2, {"a": random})
    needle = random[1000:1016].tobytes()
    holders = [p for p in (tmp_path / "2").rglob("*") if p.is_file() and needle in p.read_bytes()]
    assert holders
    for path in holders:
        flip(path, path.read_bytes().index(needle))
    with orbax.CheckpointManager(tmp_path) as manager:
        args = orbax.args.Composite(state=orbax.args.PyTreeRestore())
        silently_wrong = manager.restore(2, args=args).state["0"]
    assert (silently_wrong != random).sum() == 1
    (step, restored), said = restore(tmp_path, state)
    assert step == 1
    np.testing.assert_array_equal(restored["a"], state["a"])
    assert "['a'] does not match its digest" in said[0]


@pytest.mark.parametrize("damage", ["truncated", "deleted", "emptied", "no manifest"])
def test_damaged_newest_step_is_reported_and_the_one_before_used(tmp_path, damage):
    save_steps(tmp_path, [4, 5])
    newest = tmp_path / "5"
    data = [path for path in (newest / "state").rglob("d/*") if path.is_file()]
    if damage == "truncated":
        for path in data:
            path.write_bytes(path.read_bytes()[:-9])
    elif damage == "deleted":
        for path in data:
            path.unlink()
    elif damage == "emptied":
        shutil.rmtree(newest)
        newest.mkdir()
    else:
        shutil.rmtree(newest / "manifest")
    (step, state), said = restore(tmp_path)
    assert step == 4
    assert_same_bits(state, make_state(4))
    assert len(said) == 1
    assert re.fullmatch(
        r"The checkpoint of step 5 in .* is damaged \(.+\) and .*: trying 4\.", said[0]
    )
    assert (tmp_path / "damaged-5").is_dir()
    # The step can be written again, which Orbax refuses while a damaged one stands in its place.
    save_steps(tmp_path, [5])
    (step, state), said = restore(tmp_path)
    assert (step, said) == (5, [])
    assert_same_bits(state, make_state(5))


def test_nothing_intact_is_left(tmp_path):
    save_steps(tmp_path, [4, 5])
    for name in ("4", "5"):
        shutil.rmtree(tmp_path / name / "state")
    found, said = restore(tmp_path)
    assert found is None
    assert [("step 5" in said[0], "step 4" in said[1])] == [(True, True)]
    assert said[1].endswith("there is no earlier one.")


@pytest.mark.parametrize(
    ("like", "words"),
    [
        ({"a": np.zeros((2, 3), np.float32)}, "['b'] is int32[4] there but absent here"),
        (
            {"a": jax.ShapeDtypeStruct((2, 3), jnp.bfloat16), "b": np.zeros(4, np.int32)},
            "['a'] is float32[2, 3] there but bfloat16[2, 3] here",
        ),
        (
            {"a": np.zeros((3, 2), np.float32), "b": np.zeros(4, np.int32)},
            "['a'] is float32[2, 3] there but float32[3, 2] here",
        ),
        ({"c": np.zeros(1)}, "['c'] is absent there but float64[1] here, and 2 more differ"),
    ],
)
def test_another_structure_is_refused_not_cast(tmp_path, like, words):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, {"a": np.ones((2, 3), np.float32), "b": np.ones(4, np.int32)})
        with pytest.raises(Problem) as problem:
            checkpoints.restore(like)
    assert words in str(problem.value)
    assert (tmp_path / "1").is_dir()


def test_keys_of_another_generator_are_refused(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, jax.random.key(0, impl="rbg"))
        with pytest.raises(Problem, match="belong to another run: the state is key<rbg>"):
            checkpoints.restore(jax.random.key(0, impl="unsafe_rbg"))


def test_only_the_newest_step_may_be_saved_again_and_only_unchanged(tmp_path):
    save_steps(tmp_path, [3, 4, 4])
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.restore(make_state(0))
        checkpoints.save(4, make_state(4))
        for step, state in ((4, make_state(5)), (3, make_state(3))):
            with pytest.raises(Problem, match="already has step 4"):
                checkpoints.save(step, state)
    with Checkpoints(tmp_path) as checkpoints, pytest.raises(Problem, match="already has step 4"):
        checkpoints.save(4, make_state(4))  # not restored: this is another run's
    (step, state), said = restore(tmp_path)
    assert (step, said) == (4, [])
    assert_same_bits(state, make_state(4))


def test_a_directory_that_cannot_be_made_is_a_problem(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(Problem, match="choose another output directory"):
        Checkpoints(tmp_path / "file" / "checkpoints")


def test_a_full_disk_is_a_problem_and_leaves_the_earlier_step(tmp_path):
    resource = pytest.importorskip("resource")
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, {"a": np.zeros(10)})
    checkpoints._manager.wait_until_finished()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with contextlib.suppress(Problem):  # said when it is saved, or else when it is waited for
            checkpoints.save(2, {"a": np.random.default_rng(0).normal(size=100_000)})
        with pytest.raises(Problem, match=r"could not be written .* earlier steps are unaffected"):
            checkpoints.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    (step, _), said = restore(tmp_path, {"a": np.zeros(10)})
    assert (step, said) == (1, [])


def test_a_save_that_fails_ends_with_its_last_write(tmp_path, monkeypatch):
    """TensorStore tells an event loop of each write, and prints a traceback if that is closed."""
    import tensorstore
    from orbax.checkpoint._src.serialization.type_handlers import NumpyHandler

    printed, late = [], []

    async def write(self, value, *_):
        if value.size == 1:
            raise OSError("no room")
        promise, written = tensorstore.Promise.new()
        late.append(threading.Timer(0.3, promise.set_result, [None]))
        late[-1].start()
        await written

    monkeypatch.setattr(NumpyHandler, "_open_and_write", write)
    monkeypatch.setattr(sys, "unraisablehook", lambda told: printed.append(str(told.exc_value)))
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, {"a": np.zeros(1), "b": np.zeros(2), "c": np.zeros(3)})
    with pytest.raises(Problem, match=r"could not be written .*no room"):
        checkpoints.close()
    for timer in late:
        timer.join()
    assert (len(late), printed) == (2, [])


SAVE_FOREVER = """
import sys
from pathlib import Path
import jax
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from jaxtrends.checkpoint import Checkpoints
mesh = jax.make_mesh((2,), ("lane",), axis_types=(AxisType.Auto,))
place = NamedSharding(mesh, PartitionSpec("lane"))
with Checkpoints(Path(sys.argv[1])) as checkpoints:
    start = checkpoints.restore({"a": jax.ShapeDtypeStruct((64, 1000), np.float32, sharding=place),
                                 "key": jax.random.key(0)})
    step, state = start or (0, {"a": jax.device_put(np.zeros((64, 1000), np.float32), place),
                                "key": jax.random.key(0)})
    assert state["a"].sharding == place
    grow = jax.jit(lambda a: a + 1, donate_argnums=0)
    while True:
        step += 1
        state = {"a": grow(state["a"]), "key": jax.random.key(step)}
        checkpoints.save(step, state)
        print(step, flush=True)
"""


def test_kill_9_in_a_save_loop_leaves_the_newest_complete_step(tmp_path):
    """Killed twice, resuming on two devices each time and restoring on this one."""
    environment = os.environ | {"XLA_FLAGS": "--xla_force_host_platform_device_count=2"}
    last = 0
    for kill_after in (5, 6):
        process = subprocess.Popen(
            [sys.executable, "-c", SAVE_FOREVER, str(tmp_path)],
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(kill_after):
            printed = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        like = {"a": np.zeros((64, 1000), np.float32), "key": jax.random.key(0)}
        (step, state), said = restore(tmp_path, like)
        assert said == []
        # save(n) waits for n-1, so at most the newest one announced may be missing.
        assert step >= printed - 1 > last
        expected = {"a": np.full((64, 1000), step, np.float32), "key": jax.random.key(step)}
        assert_same_bits(state, expected)
        last = step


def test_the_manifest_can_be_read_without_this_code(tmp_path):
    save_steps(tmp_path, [1])
    manifest = json.loads((tmp_path / "1" / "manifest" / "metadata").read_text())
    by_path = {entry["path"]: entry for entry in manifest["leaves"]}
    assert by_path["['parameters'].second"]["dtype"] == "bfloat16"
    assert by_path["['keys'][0]"] | {"sha256": ""} == {
        "path": "['keys'][0]",
        "dtype": "key<fry>",
        "shape": [4],
        "impl": "threefry2x32",
        "sha256": "",
    }
