"""Names for labels: one to one, readable, and no way out of a folder."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxtrends.file_names import file_name, shortened

LABELS = st.one_of(st.text(max_size=120), st.text("aAbB.-_~* /é", max_size=6))


@given(LABELS, LABELS)
def test_two_labels_never_share_a_name_whatever_a_file_system_makes_of_case(one, other):
    shared = file_name(one).casefold() == file_name(other).casefold()
    assert shared == (one == other)


@given(LABELS)
def test_a_name_is_one_part_of_a_path_that_any_file_system_takes(label):
    name = file_name(label)
    assert PurePosixPath("folder", name).name == name
    assert name.isascii()
    assert len(name) < 100
    assert not name.startswith((".", "-"))


@pytest.mark.parametrize("label", ["digits", "two_names", "lr=0.1", "gaussian-16", "moe_4"])
def test_a_plain_label_is_its_own_name(label):
    assert file_name(label) == label


@pytest.mark.parametrize(
    ("label", "readable"),
    [
        ("mlp backprop*, tuning", "mlp_backprop_tuning~"),
        ("Backprop", "Backprop~"),
        ("甲", "_~"),
        ("", "~"),
        ("..", "~"),
        ("a~12345678", "a_12345678~"),
    ],
)
def test_any_other_can_still_be_read_and_bears_a_digest(label, readable):
    name = file_name(label)
    assert name.startswith(readable)
    assert len(name) == len(readable) + 8


@given(st.text(max_size=40), st.text(max_size=40))
def test_texts_that_are_cut_stay_apart(one, other):
    cut = [shortened(text, 12) for text in (one, other)]
    assert max(map(len, cut)) <= 12
    assert (cut[0] == cut[1]) == (one == other)
    assert shortened("twelve chars", 12) == "twelve chars"
