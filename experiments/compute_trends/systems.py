"""The data: systems with their dates and training compute, from the project's table or another.

The project's own table holds the facts behind "Compute Trends Across Three Eras of Machine
Learning": 123 systems with dates and FLOP as the paper's notebook used them, not later corrections.
They are from Sevilla, Villalobos, Cerón, Burtell, Heim, Nanjajjar, Ho, Besiroglu, Hobbhahn (2022),
"Parameter, Compute and Data Trends in Machine Learning", Epoch, licensed CC BY 4.0; four of its
columns are kept, under names of our own.
"""

from __future__ import annotations

import csv
import hashlib
import io
import math
import re
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Annotated

import numpy as np

from jaxtrends.errors import Problem
from jaxtrends.formats import UNSHOWABLE, showable
from jaxtrends.settings import Readable

PAPER = Path(__file__).with_name("milestone_systems.csv")
DATASET = "milestone_systems"  # its name in a record
ATTRIBUTION = (
    "Sevilla, Villalobos, Cerón, Burtell, Heim, Nanjajjar, Ho, Besiroglu, Hobbhahn (2022), "
    "Parameter, Compute and Data Trends in Machine Learning, Epoch"
)
MOST_BYTES = 20_000_000
MOST_SYSTEMS = 5_000  # windows are compared pair by pair
LEAST_SYSTEMS = 3  # a line through two has no residuals
EPOCH = date(1970, 1, 1).toordinal()
YEARS = range(1900, 2101)
DAYS_PER_YEAR = 365.2425
FLOP = (1.0, 1e60)  # less is no operation, and more than nature has room for

PUBLISHED, COMPUTE = "publication_date", "training_compute_flop"

# Column -> the headings under which it is found, compared without case, spaces and signs.
HEADINGS = {
    "system": ("system", "model", "name"),
    PUBLISHED: ("publicationdate", "date"),
    COMPUTE: ("trainingcomputeflop", "trainingcomputeflops", "trainingcompute"),
    "domain": ("domain",),
}

_PLAIN = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_GROUPED = re.compile(r"[+-]?\d{1,3}(,\d{3})+(\.\d*)?([eE][+-]?\d+)?")
_SLASHED = re.compile(r"(\d{1,2})/(\d{1,2})/(\d{4})")


@dataclass(frozen=True)
class Systems:
    """Systems that have a date and a training compute, in order of their dates.

    Attributes:
        names:           of the systems.
        dates:           (n,) float64, days since 1 January 1970.
        log_compute:     (n,) float64, log10 of the training compute in FLOP.
        domains:         of the systems; "" where the table says none.
        without_compute: rows that were left out since they have no compute.
        without_date:    rows that were left out since they have compute and no date.
        version:         of the table.
        digest:          SHA-256 of the file's bytes, in hex.
        origin:          one sentence on where the table is from and what was left out.
        licence:         of the data.
    """

    names: tuple[str, ...]
    dates: np.ndarray
    log_compute: np.ndarray
    domains: tuple[str, ...]
    without_compute: int
    without_date: int
    version: str
    digest: str
    origin: str
    licence: str

    @property
    def of_the_paper(self) -> bool:
        """Whether this is the project's own table, byte for byte: the paper's 123 systems."""
        return self.digest == _digest(PAPER.read_bytes())


def day(text: str, month_first: bool = False) -> float:
    """Days since 1 January 1970 of a date: 2015-09-01, 01/09/2015, 2015-09 or 2015.

    A month or year alone is its first day, as in the paper's table. Of 01/09/2015 the day stands
    first, or the month if ``month_first``.

    Raises:
        ValueError: it is no such date, or not of the years 1900 to 2100.
    """
    text = text.strip()
    if found := _SLASHED.fullmatch(text):
        first, second, whole_year = map(int, found.groups())
        chosen = date(whole_year, *((first, second) if month_first else (second, first)))
    elif re.fullmatch(r"\d{4}", text):
        chosen = date(int(text), 1, 1)
    elif re.fullmatch(r"\d{4}-\d{2}", text):
        chosen = date.fromisoformat(text + "-01")
    else:
        chosen = datetime.fromisoformat(text).date()
    if chosen.year not in YEARS:
        raise ValueError(f"{text} is not of the years {YEARS[0]} to {YEARS[-1]}")
    return float(chosen.toordinal() - EPOCH)


_WRITTEN = Readable(day, "a date", "2015-09-01")
Date = Annotated[str, _WRITTEN]
Dates = Annotated[tuple[str, ...], _WRITTEN]


def year(days: np.ndarray | float) -> np.ndarray:
    """Days since 1 January 1970 as years, 2015.5 being midway through 2015; float64.

    A year has so many days throughout, so that a straight line in one is straight in the other.
    """
    return 1970.0 + np.asarray(days, np.float64) / DAYS_PER_YEAR


def iso(days: float) -> str:
    """The date of a day since 1 January 1970, as 2015-09-01."""
    return date.fromordinal(math.floor(days) + EPOCH).isoformat()


def read(path: Path = PAPER) -> Systems:
    """Read a table of systems: CSV in UTF-8 with a heading, in any order and with any more columns.

    The columns are system, publication_date, training_compute_flop and, if it has one, domain; the
    headings "Publication date" or "Training compute (FLOP)" do as well. Dates are ISO, dd/mm/yyyy
    or years; FLOP are written 1e21 or 1,000,000. Rows without compute or date are counted. Dates
    are mm/dd/yyyy if one of them can be nothing else; where any could be either, ``origin`` says
    how they were read.

    Raises:
        Problem: the table cannot be used; the sentence names the row and the column. Row 1 is the
            heading, as in a spreadsheet.
    """
    content = _content(path)
    table = _cells(path, content)
    month_first, read_as = _order_of_dates(table)
    found: list[tuple[float, float, str, str]] = []
    seen: dict[tuple[str, float], str] = {}
    without_compute = without_date = 0
    for where, cell in table:
        flop, when = _flop(where, cell[COMPUTE]), _day(where, cell[PUBLISHED], month_first)
        if flop is None:
            without_compute += 1
        elif when is None:
            without_date += 1
        elif not cell["system"]:
            raise Problem(f"{where}, column system: the cell is blank: give the system a name.")
        else:
            first = seen.setdefault((cell["system"].casefold(), when), where)
            if first != where:
                raise Problem(
                    f"{where}, column system: {cell['system']!r} of {iso(when)} stands in "
                    f"{first.rpartition(', ')[2]} already: remove one of them, or give them names "
                    "of their own."
                )
            found.append((when, math.log10(flop), cell["system"], cell.get("domain", "")))
    if len(found) > MOST_SYSTEMS:
        raise Problem(f"{path.name} has {len(found)} systems, and at most {MOST_SYSTEMS} are read.")
    left_out = f"{without_compute} rows without compute"
    left_out += f" and {without_date} without a date" if without_date else ""
    digest = _digest(content)
    ours = digest == _digest(PAPER.read_bytes())
    source = f"The project's table of {ATTRIBUTION}" if ours else "A table of the user's own"
    found.sort(key=lambda row: row[0])
    dates, log_compute, names, domains = zip(*found, strict=True) if found else [()] * 4
    systems = Systems(
        names=names,
        dates=np.array(dates),
        log_compute=np.array(log_compute),
        domains=domains,
        without_compute=without_compute,
        without_date=without_date,
        version="2022-03" if ours else path.name,
        digest=digest,
        origin=f"{source}: {len(found)} systems; left out: {left_out}{read_as}.",
        licence="CC BY 4.0" if ours else "not known",
    )
    some = f" (left out: {left_out})" if without_compute or without_date else ""
    check_enough(path.name + some, systems.dates, systems.log_compute)
    return systems


def check_enough(source: str, dates: np.ndarray, log_compute: np.ndarray) -> None:
    """Refuse systems that no trend can be fitted to.

    Args:
        source:      what they are, to begin a sentence with.
        dates:       (n,) float64 in order, days since 1970.
        log_compute: (n,) float64.

    Raises:
        Problem: there are too few, they are all of one month, or of the same compute.
    """
    if len(dates) < LEAST_SYSTEMS:
        raise Problem(
            f"{source} has too few systems with a date and a compute: {len(dates)}, and "
            f"a trend needs {LEAST_SYSTEMS}."
        )
    if dates[-1] - dates[0] < 31:
        raise Problem(
            f"{source}: all systems are from {iso(dates[0])} to {iso(dates[-1])}, and a trend "
            "needs more than a month."
        )
    if len(set(log_compute)) == 1:
        raise Problem(
            f"{source}: all systems have the same compute, and nothing can be told of how it grew."
        )


def _content(path: Path) -> bytes:
    try:
        if not path.is_file():
            raise Problem(f"There is no file {path}: name a table with --table FILE.csv.")
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise Problem(
                f"{path.name} has {size / 1e6:.0f} MB, and a table may have "
                f"{MOST_BYTES / 1e6:.0f} MB: leave out columns and rows that are not needed."
            )
        return path.read_bytes()
    except OSError as error:
        raise Problem(f"{path} cannot be read ({error.strerror}).") from None


def _cells(path: Path, content: bytes) -> list[tuple[str, dict[str, str]]]:
    """Where each row that is not blank stands, and its cells by the names of their columns.

    Cells are blank where the row ends before them.
    """
    rows = _rows(path, content)
    heading, columns = rows[0][1], _columns(path, rows[0][1])
    table = []
    for number, cells in rows[1:]:
        where = f"{path.name}, row {number}"
        if any(cell.strip() for cell in cells[len(heading) :]):  # commas that end a row do no harm
            raise Problem(
                f"{where}, has {len(cells)} cells under {len(heading)} headings: "
                "put a cell that holds a comma in double quotes."
            )
        found = {}
        for name, place in columns.items():
            text = cells[place] if place < len(cells) else ""
            if UNSHOWABLE.search(text.replace("\r\n", "\n")):
                raise Problem(
                    f"{where}, column {name}: '{showable(text)[:40]}' holds a control character: "
                    "remove it."
                )
            found[name] = " ".join(text.split())
        table.append((where, found))
    return table


def _rows(path: Path, content: bytes) -> list[tuple[int, list[str]]]:
    """The rows that are not blank with their numbers, the heading first."""
    reader = None
    try:
        text = content.decode("utf-8-sig")
        _check_separator(path, text)
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)
        every = enumerate(reader, start=1)
        rows = [(number, row) for number, row in every if any(cell.strip() for cell in row)]
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise Problem(
            f"{path.name}, line {line}, is not UTF-8: save the table as CSV in UTF-8."
        ) from None
    except csv.Error as error:
        raise Problem(f"{path.name} is not a CSV table: line {reader.line_num}: {error}.") from None
    if not rows:
        raise Problem(f"{path.name} is empty: it needs the columns {', '.join(HEADINGS)}.")
    return rows


def _check_separator(path: Path, text: str) -> None:
    """Refuse a table whose heading is parted by something else than commas, and name it."""
    heading = next((line for line in re.split(r"[\r\n]+", text) if line.strip()), "")
    heading = re.sub(r'"[^"]*"', "", heading)
    for separator, name in {";": "semicolons", "\t": "tabs"}.items():
        if heading.count(separator) > heading.count(","):
            raise Problem(
                f"{path.name} has {name} between its columns: save it as CSV with commas, and "
                "with points in its numbers."
            )


def _columns(path: Path, heading: list[str]) -> dict[str, int]:
    """Where each column stands; `domain` only if the table has it."""
    known = [re.sub(r"[\W_]", "", title).casefold() for title in heading]
    places = {}
    for column, titles in HEADINGS.items():
        title = next((title for title in titles if title in known), None)
        if title is not None:
            if known.count(title) > 1:
                raise Problem(f"{path.name}, row 1, has the column {column} twice.")
            places[column] = known.index(title)
        elif column != "domain":
            given = ", ".join(map(repr, heading[:12]))
            raise Problem(f"{path.name}, row 1, has no column {column}; it has {given}.")
    return places


def _order_of_dates(table: list[tuple[str, dict[str, str]]]) -> tuple[bool, str]:
    """Whether the month stands first in dates with slashes, and how to say so where it matters.

    Raises:
        Problem: some can only be read day first, and some only month first.
    """
    seen: dict[str, tuple[str, str]] = {}  # the first date of each kind
    for where, cells in table:
        if slashed := _SLASHED.fullmatch(cells[PUBLISHED]):
            first, second = int(slashed[1]), int(slashed[2])
            kind = "day" if first > 12 >= second else "month" if second > 12 >= first else "either"
            if first != second:
                seen.setdefault(kind, (where, cells[PUBLISHED]))
    if "day" in seen and "month" in seen:
        (where, text), (other, day_first) = seen["month"], seen["day"]
        raise Problem(
            f"{where}, column {PUBLISHED}: {text} has its month first, and {day_first} in "
            f"{other.rpartition(', ')[2]} its day: write dates as 2015-09-30."
        )
    order = "month" if "month" in seen else "day"
    either = seen.get("either")
    return order == "month", f"; dates such as {either[1]} are read {order} first" if either else ""


def _flop(where: str, text: str) -> float | None:
    if not text:
        return None
    known = _PLAIN.fullmatch(text) or _GROUPED.fullmatch(text)
    value = float(text.replace(",", "")) if known else math.nan
    said = "leave the cell blank where the compute is not known"
    if not math.isfinite(value):
        why = f"is not a number of FLOP: write 1e21 or 1,000,000, or {said}"
    elif value <= 0:
        why = f"is not above zero: {said}"
    elif not FLOP[0] <= value <= FLOP[1]:
        why = "is not from 1 to 10^60: write the training compute in FLOP"
    else:
        return value
    raise Problem(f"{where}, column {COMPUTE}: {text[:40]!r} {why}.")


def _day(where: str, text: str, month_first: bool) -> float | None:
    if not text:
        return None
    try:
        return day(text, month_first)
    except ValueError:
        order = "09/30/2015 (month first)" if month_first else "30/09/2015 (day first)"
        raise Problem(
            f"{where}, column {PUBLISHED}: {text[:40]!r} is not a date from {YEARS[0]} to "
            f"{YEARS[-1]}: write 2015-09-30, {order} or 2015, or leave the cell blank where it is "
            "not known."
        ) from None


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
