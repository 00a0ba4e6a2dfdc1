"""How numbers and plain text are written in Markdown, LaTeX and on a terminal."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Collection, Sequence

# Control characters, by which a text could steer a terminal, but line feed and tab; the marks that
# turn the direction of writing; half a surrogate pair, which cannot be printed at all.
UNSHOWABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


def showable(text: str) -> str:
    r"""A text that may come from anywhere, for a terminal: what would steer it as \x1b, say."""
    return UNSHOWABLE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def _scientific(value: float, digits: int) -> str:
    mantissa, _, exponent = f"{value:.{digits - 1}e}".partition("e")
    return f"{mantissa}e{int(exponent)}"


def format_number(value: float, digits: int = 4) -> str:
    """A number with so many significant digits, without trailing zeros; ∞ and nan as such."""
    value = float(value)
    if not math.isfinite(value):
        return str(value).replace("inf", "∞")
    text = f"{value:.{digits}g}"
    if 1e4 <= abs(value) < 1e6:
        text = f"{value:.0f}"
    mantissa, e, exponent = text.partition("e")
    return f"{mantissa}e{int(exponent)}" if e else text


def format_interval(estimate: float, low: float, high: float) -> str:
    """An estimate with its interval, "0.503 [0.481, 0.526]": as many digits as its width deserves.

    The last digit shown is the second of the interval's half-width. Where the interval lies on one
    side of zero every number has at least two digits, since it may span orders of magnitude.
    An interval of width zero is one number.
    """
    estimate, low, high = float(estimate), float(low), float(high)
    if low == high or math.isnan(low):
        return format_number(estimate)
    half = (high - low) / 2
    bounded = math.isfinite(half)
    last = math.floor(math.log10(half)) - 1 if bounded else 0
    sizes = [abs(value) for value in (estimate, low, high) if math.isfinite(value) and value]
    plain = not sizes or 1e-3 <= max(sizes) < 1e5

    def text(value: float) -> str:
        if not math.isfinite(value):
            return format_number(value)
        size = math.floor(math.log10(abs(value))) if value else last
        least = 2 if low > 0 or high < 0 else 1
        digits = min(max(size - last + 1, least), 7) if bounded else 3
        if value and (not plain or (digits == least == 2 and size < -3)):
            return _scientific(value, digits)
        beneath = bounded and least == 1 and size < last  # smaller than the last digit shown
        decimals = -last if beneath else digits - 1 - size
        decimals = max(decimals, 0)
        return f"{round(value, decimals) + 0.0:.{decimals}f}"  # + 0.0: no minus zero

    return f"{text(estimate)} [{text(low)}, {text(high)}]"


def span(values: Collection[float]) -> str:
    """From the least to the greatest of some numbers: "4 to 64", or "8" where all are equal."""
    ends = [format_number(end(values)) for end in (min, max)]
    return " to ".join(dict.fromkeys(ends))


def powers(values: Collection[float]) -> str:
    """From the least to the greatest order of magnitude, rounded: "10^4 to 10^6", or "10^4"."""
    ends = [f"10^{round(math.log10(end(values)))}" for end in (min, max)]
    return " to ".join(dict.fromkeys(ends))


RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def raised(text: str) -> str:
    """Plain text with its powers as print has them: 10^6 as 10⁶."""
    return re.sub(r"(?<=\d)\^(-?\d+)\b", lambda power: power[1].translate(RAISED), text)


def escape_markdown(text: str) -> str:
    """Plain text that GitHub's Markdown shows as it is, in a table's cell too; 10^6 as 10⁶."""
    text = raised(text)
    text = re.sub(r"([\\|*`~$])", r"\\\1", text.replace("&", "&amp;").replace("<", "&lt;"))
    text = re.sub(r"(?<!\w)_|_(?!\w)", r"\\_", text)
    return re.sub(r"\](?=\()", r"\\]", text).replace("\n", " ")


def inline_code(text: str) -> str:
    """Plain text as Markdown's code within a line, whatever backticks it holds."""
    text = text.replace("\n", " ")
    ticks = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    space = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{ticks}{space}{text}{space}{ticks}"


LATEX = {
    **{"\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "^": r"\^{}", "~": r"\~{}"},
    **{character: "\\" + character for character in "&%$#_"},
    **{"<": "$<$", ">": "$>$", "|": r"\textbar{}", "“": "``", "”": "''", "’": "'"},
    **{"∞": r"$\infty$", "×": r"$\times$", "·": r"$\cdot$", "±": r"$\pm$", "\u2212": "$-$"},
    **{
        "≤": r"$\leq$",
        "≥": r"$\geq$",
        "≈": r"$\approx$",
        "≳": r"$\stackrel{>}{\sim}$",
        "→": r"$\to$",
        "√": r"$\surd$",
    },
    **{"²": "$^2$", "³": "$^3$", "…": r"\dots{}", "–": "--", "—": "---", "\n": " "},
    **{
        "α": r"$\alpha$",
        "β": r"$\beta$",
        "\u03b3": r"$\gamma$",
        "δ": r"$\delta$",
        "ε": r"$\epsilon$",
    },
    **{"η": r"$\eta$", "θ": r"$\theta$", "κ": r"$\kappa$", "λ": r"$\lambda$", "μ": r"$\mu$"},
    **{"ν": r"$\nu$", "π": r"$\pi$", "ρ": r"$\rho$", "σ": r"$\sigma$", "τ": r"$\tau$"},
    **{"Δ": r"$\Delta$", "Σ": r"$\Sigma$", "∇": r"$\nabla$", "∂": r"$\partial$"},
}


def escape_latex(text: str) -> str:
    """Plain text as LaTeX shows it: 1.5e-7 and 10^5 become powers, a minus sign a true one."""

    def piece(match: re.Match[str]) -> str:
        if match["mantissa"]:
            times = "" if match["mantissa"] == "1" else rf"{match['mantissa']} \times "
            return f"${times}10^{{{int(match['exponent'])}}}$"
        if match["raised"]:
            return f"$^{{{match['raised']}}}$"
        return "$-$" if match["minus"] else LATEX.get(match[0]) or _known_to_latex(match[0])

    power = r"(?<![\w.])(?P<mantissa>-?\d+(?:\.\d+)?)e(?P<exponent>[-+]?\d+)\b"
    minus = r"(?P<minus>(?<![\w)\]])-(?=[\d∞])|(?<= )-(?= ))"
    raised = r"\^(?P<raised>-?\d+)"
    return re.sub(f"{power}|{minus}|{raised}|.", piece, text, flags=re.DOTALL)


def _known_to_latex(character: str) -> str:
    """The character if LaTeX's usual fonts have it, else the plain ones it is made of, else ?."""
    if ord(character) < 0x180:
        return character
    plain = unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
    return "".join(LATEX.get(part, part) for part in plain) or "?"


def markdown_table(columns: Sequence[str], rows: Sequence[Sequence[str]], right: set[int]) -> str:
    """A Markdown table of plain text, which is escaped; the columns ``right`` are right-aligned."""
    rule = ["--:" if number in right else ":--" for number in range(len(columns))]
    body = [[escape_markdown(cell) for cell in row] for row in (columns, *rows)]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (body[0], rule, *body[1:]))
