"""Sequences are what their rule says, the same everywhere, and their splits are disjoint."""

from __future__ import annotations

import math

import numpy as np
import pytest

from jaxtrends import sequences
from jaxtrends.errors import Problem


@pytest.fixture(scope="module")
def lookup():
    return sequences.lookup(clusters=3, context=40, training=4000, held_out=300, seed=5)


def test_the_next_symbol_is_the_favoured_one_as_often_as_said(lookup):
    counts = np.zeros((3, 32, 32, 32), np.int64)  # of (cluster, two symbols, next symbol)
    tokens = np.concatenate([lookup.train.inputs, lookup.train.labels[:, -1:]], axis=1)
    cluster = lookup.train.clusters
    np.testing.assert_array_equal(tokens[:, 0], 32 + cluster)
    for place in range(3, 41):
        np.add.at(counts, (cluster, *(tokens[:, place - back] for back in (2, 1, 0))), 1)
    # Of all pairs seen at least ten times, the likeliest successor takes 0.9 + 0.1 / 32.
    seen = counts.sum(-1) >= 10
    share = counts.max(-1)[seen].sum() / counts.sum(-1)[seen].sum()
    assert seen.mean() > 0.5  # of 3,072 pairs
    assert share == pytest.approx(0.9 + 0.1 / 32, abs=0.005)
    # The control: without the cluster, tables blur into each other.
    blurred = counts.sum(0)
    assert blurred.max(-1).sum() / blurred.sum() < 0.7


def test_the_floor_is_the_entropy_of_the_rule(lookup):
    likely = 0.9 + 0.1 / 32
    entropy = -likely * math.log(likely) - 31 * (0.1 / 32) * math.log(0.1 / 32)
    assert entropy == pytest.approx(0.651, abs=1e-3)
    assert lookup.floor == pytest.approx((2 * math.log(32) + 38 * entropy) / 40)


def test_two_names_tell_the_cluster_together_and_neither_alone():
    one, two = (
        sequences.lookup(clusters=3, context=8, training=6000, held_out=10, seed=5, names=names)
        for names in (1, 2)
    )
    names = two.train.inputs[:, :2] - 32
    np.testing.assert_array_equal(names.sum(axis=1) % 3, two.train.clusters)
    for name in names.T:
        joint = np.bincount(3 * name + two.train.clusters, minlength=9) / len(name)
        np.testing.assert_allclose(joint, 1 / 9, atol=0.015)
    assert two.vocabulary == one.vocabulary
    later = (8 - 2) * (8 * one.floor - 2 * math.log(32)) / (8 - 2)  # of six symbols, here five
    assert 8 * two.floor == pytest.approx(math.log(3) + 2 * math.log(32) + later * 5 / 6)
    # The control: with one name the first token is the cluster.
    np.testing.assert_array_equal(one.train.inputs[:, 0] - 32, one.train.clusters)


def test_labels_follow_their_inputs_and_splits_are_apart(lookup):
    for split in (lookup.train, lookup.validation, lookup.test):
        np.testing.assert_array_equal(split.inputs[:, 1:], split.labels[:, :-1])
        assert split.inputs.dtype == np.int32
    rows = [{row.tobytes() for row in getattr(lookup, n).inputs} for n in ("train", "test")]
    assert not rows[0] & rows[1]
    assert len(lookup.validation.inputs) == len(lookup.test.inputs) == 300
    assert lookup.vocabulary == 35


def test_the_same_seed_gives_the_same_bits_on_every_machine(lookup):
    again = sequences.lookup(clusters=3, context=40, training=4000, held_out=300, seed=5)
    other = sequences.lookup(clusters=3, context=40, training=4000, held_out=300, seed=6)
    assert lookup.digest == again.digest != other.digest
    assert lookup.digest.startswith("117b38f82a513452")


@pytest.mark.parametrize(
    ("changes", "words"), [({"context": 3}, "at least 4 tokens"), ({"clusters": 0}, "clusters")]
)
def test_a_lookup_that_cannot_be_is_refused(changes, words):
    given = {"clusters": 3, "context": 40, "training": 10, "held_out": 10, "seed": 0}
    with pytest.raises(Problem, match=words):
        sequences.lookup(**given | changes)


def test_markup_goes_and_what_a_reader_sees_stays():
    markup = """{{Infobox|a={{nested|b}}}}
'''Albedo''' is the [[reflection (physics)|reflected]] part<ref name="x">A note.</ref> of
[[light]].<!-- hidden -->
[[File:Moon.jpg|thumb|The [[Moon]] at ''night'']]
== History ==
* It was [http://example.org first] measured&nbsp;in <small>1760</small>.
{| class="wikitable"
| cell
|}
[[Category:Optics]]"""
    assert sequences.plain_text(markup) == (
        "Albedo is the reflected part of\nlight.\nHistory\nIt was first measured in 1760."
    )


def test_english_is_text_in_windows_that_do_not_overlap():
    pytest.importorskip("gensim", reason="the English text comes with the package gensim")
    english = sequences.english(128)
    text = bytes(english.validation.inputs.astype(np.uint8).ravel()).decode(errors="replace")
    assert text.startswith("Anarchism is a political philosophy that advocates self-governed")
    assert "{{" not in text
    assert "[[" not in text
    assert english.digest.startswith("39f90479f99addb6")
    stream = english.train.inputs.ravel()
    np.testing.assert_array_equal(stream[1:], english.train.labels.ravel()[:-1])


def test_a_missing_or_another_text_is_an_error_that_says_what_to_do(tmp_path):
    with pytest.raises(Problem, match="install gensim"):
        sequences.english(128, path=tmp_path / "missing.bz2")
    (tmp_path / "other.bz2").write_bytes(b"other")
    with pytest.raises(Problem, match="not the expected file"):
        sequences.english(128, path=tmp_path / "other.bz2")


def test_a_text_of_fewer_windows_than_are_held_out_is_refused():
    pytest.importorskip("gensim", reason="the English text comes with the package gensim")
    with pytest.raises(Problem, match="too short: a split has 0 windows"):
        sequences.english(10_000_000)
    with pytest.raises(Problem, match="1000000 are to be held out"):
        sequences.english(128, 1_000_000)
