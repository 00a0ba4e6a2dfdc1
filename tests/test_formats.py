"""How numbers and plain text are written in Markdown, LaTeX and on a terminal."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxtrends.formats import (
    escape_latex,
    escape_markdown,
    format_interval,
    format_number,
    inline_code,
    powers,
    span,
)

INF, NAN = math.inf, math.nan

# --- numbers -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "whole", "orders"),
    [
        ([16, 4, 64], "4 to 64", "10^1 to 10^2"),
        ({8}, "8", "10^1"),
        ([1.25, 1], "1 to 1.25", "10^0"),
    ],
)
def test_numbers_are_told_from_the_least_to_the_greatest(values, whole, orders):
    assert span(values) == whole
    assert powers(values) == orders


@pytest.mark.parametrize(
    ("interval", "text"),
    [
        ((0.5031, 0.48121, 0.52571), "0.503 [0.481, 0.526]"),
        ((12.1, 2.04, 300.7), "12 [2.0, 301]"),
        ((5.316e-6, 5.201e-6, 5.424e-6), "5.32e-6 [5.20e-6, 5.42e-6]"),
        ((0.004, -0.0312, 0.0409), "0.004 [-0.031, 0.041]"),
        ((-0.0001, -0.0312, 0.0309), "0.000 [-0.031, 0.031]"),
        ((1.2e-4, -3.04e-4, 5.06e-4), "1.2e-4 [-3.0e-4, 5.1e-4]"),
        ((1234.5, 1100.0, 1400.0), "1234 [1100, 1400]"),
        ((2.5e6, 2.4e6, 2.61e6), "2.50e6 [2.40e6, 2.61e6]"),
        ((0.02, 1.23e-6, 400.0), "0.020 [1.2e-6, 400]"),
        ((1.0, 0.9999999, 1.0000001), "1.000000 [0.9999999, 1.000000]"),
        ((2.126, 1.878, INF), "2.13 [1.88, ∞]"),
        ((3.0, -INF, INF), "3.00 [-∞, ∞]"),
        ((0.97, -INF, INF), "0.970 [-∞, ∞]"),
        ((INF, INF, INF), "∞"),
        ((3.27e-31, 3.27e-31, 3.27e-31), "3.27e-31"),
        ((0.0, 0.0, 0.0), "0"),
        ((NAN, NAN, NAN), "nan"),
        ((0.0, -0.5, 0.5), "0.00 [-0.50, 0.50]"),
        (("2.126", "1.878", "inf"), "2.13 [1.88, ∞]"),
    ],
)
def test_an_interval_has_as_many_digits_as_its_width_deserves(interval, text):
    assert format_interval(*interval) == text


@given(
    st.floats(-1e8, 1e8, allow_subnormal=False),
    st.floats(1e-9, 1e8, allow_subnormal=False),
    st.floats(0.01, 0.99),
)
def test_what_is_shown_is_close_to_what_is_meant(low, width, where):
    high = low + width
    estimate = low + where * width
    if not low < estimate < high:
        return
    shown = [
        float(n) for n in re.findall(r"-?[\d.]+(?:e-?\d+)?", format_interval(estimate, low, high))
    ]
    largest = max(abs(low), abs(high))
    for number, value in zip(shown, (estimate, low, high), strict=True):
        # Within a fortieth of the width, or the seventh digit where the interval is narrower.
        assert abs(number - value) <= max(width / 39, 1e-6 * largest)


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0.1, "0.1"),
        (226.5, "226.5"),
        (3541.25, "3541"),
        (123456.7, "123457"),
        (1e-20, "1e-20"),
        (3e7, "3e7"),
        (-INF, "-∞"),
        (NAN, "nan"),
        (512, "512"),
    ],
)
def test_a_number_has_four_digits(number, text):
    assert format_number(number) == text


# --- escapes -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "latex"),
    [
        ("50 % of $1 & #2_a {b}", r"50 \% of \$1 \& \#2\_a \{b\}"),
        ("a\\b~c^d", r"a\textbackslash{}b\~{}c\^{}d"),
        ("1.5e-7 and -3e+08", r"$1.5 \times 10^{-7}$ and $-3 \times 10^{8}$"),
        ("1e-20", r"$10^{-20}$"),
        ("10^5 parameters", "10$^{5}$ parameters"),
        ("-0.05 [-1, ∞]", r"$-$0.05 [$-$1, $\infty$]"),
        ("mini-batch, 3-4, x - y", "mini-batch, 3-4, x $-$ y"),
        ("p < 0.05 | q", r"p $<$ 0.05 \textbar{} q"),
        ("κ ≤ 3 × “σ”", r"$\kappa$ $\leq$ 3 $\times$ ``$\sigma$''"),
        ("line\nbreak", "line break"),
        ("n ≳ d, x₁, Cerón, 语", r"n $\stackrel{>}{\sim}$ d, x1, Cerón, ?"),
    ],
)
def test_latex(text, latex):
    assert escape_latex(text) == latex


@given(st.text(alphabet=st.characters(codec="ascii")))
def test_latex_leaves_nothing_special_behind(text):
    escaped = escape_latex(text)
    bare = re.sub(r"\\(textbackslash|textbar|\^|~)\{\}|\\[{}&%$#_]|\\times ", "", escaped)
    bare = re.sub(r"\$[<>-]\$|\$\^\{-?\d+\}\$|\$[-\d.]* ?10\^\{-?\d+\}\$", "", bare)
    assert not set(bare) & set("\\{}$&%#_^~")


@pytest.mark.parametrize(
    ("text", "markdown"),
    [
        ("a|b < c * d", r"a\|b &lt; c \* d"),
        ("R_f/R_b and _x_", r"R_f/R_b and \_x\_"),
        ("~0.75, `code`, $5", r"\~0.75, \`code\`, \$5"),
        ("0.5 [0.4, 0.6] and [a](b)", r"0.5 [0.4, 0.6] and [a\](b)"),
        ("AT&T\nnext", "AT&amp;T next"),
        ("3 x 10^6, 10^-3, x^2, 2^a", "3 x 10⁶, 10⁻³, x^2, 2^a"),
    ],
)
def test_markdown(text, markdown):
    assert escape_markdown(text) == markdown


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("make run", "`make run`"),
        ("a `b` c", "``a `b` c``"),
        ("`b`", "`` `b` ``"),
        ("a\nb", "`a b`"),
    ],
)
def test_code_within_a_line_holds_backticks(text, code):
    assert inline_code(text) == code
