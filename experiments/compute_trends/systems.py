"""The data: systems with their dates and training compute, from the project's table or another.

The project's table has the data behind "Compute Trends Across Three Eras of Machine Learning": 123
systems with dates and FLOP as in the paper's notebook, without later corrections. The source is
Sevilla, Villalobos, Cerón, Burtell, Heim, Nanjajjar, Ho, Besiroglu, Hobbhahn (2022), "Parameter,
Compute and Data Trends in Machine Learning", Epoch, licensed CC BY 4.0. Four of its columns are
kept, with new names.
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
MOST_SYSTEMS = 5_000  # leave-one-out fits all of them once per system
LEAST_SYSTEMS = 3  # a line through two has no residuals
EPOCH = date(1970, 1, 1).toordinal()
YEARS = range(1900, 2101)
DAYS_PER_YEAR = 365.2425
FLOP = (1.0, 1e60)  # plausible values

NAME, PUBLISHED, COMPUTE = "system", "publication_date", "training_compute_flop"
HEADINGS = {  # column -> accepted headings, compared without case, spaces and punctuation
    NAME: ("system", "model", "name"),
    PUBLISHED: ("publicationdate", "date"),
    COMPUTE: ("trainingcomputeflop", "trainingcomputeflops", "trainingcompute"),
}
_SLASHED = re.compile(r"(\d{1,2})/(\d{1,2})/(\d{4})")
_NUMBER = re.compile(r"[+-]?(\d+|\d{1,3}(,\d{3})+|(?=\.\d))(\.\d*)?([eE][+-]?\d+)?")


@dataclass(frozen=True)
class Systems:
    """Systems with a date and a training compute, in order of date.

    Attributes:
        names:           of the systems.
        dates:           (n,) float64, days since 1 January 1970.
        log_compute:     (n,) float64, log10 of the training compute in FLOP.
        without_compute: number of rows skipped because they have no compute.
        without_date:    number of rows skipped because they have compute but no date.
        version:         of the table.
        digest:          SHA-256 of the file's bytes, in hex.
        origin:          one sentence: the source, the rows left out, and how ambiguous dates were
                         read.
        licence:         of the data.
    """

    names: tuple[str, ...]
    dates: np.ndarray
    log_compute: np.ndarray
    without_compute: int
    without_date: int
    version: str
    digest: str
    origin: str
    licence: str

    @property
    def of_the_paper(self) -> bool:
        """Whether this is the project's own table, byte for byte: the paper's 123 systems."""
        return self.digest == hashlib.sha256(PAPER.read_bytes()).hexdigest()


# --- dates ---------------------------------------------------------------------------------------


def day(text: str) -> float:
    """Days since 1 January 1970 of a date such as 2015-09-01.

    A month, 2015-09, or a year stands for its first day, as in the paper's table.

    Raises:
        ValueError: it is not such a date, or not in the years 1900 to 2100.
    """
    text = text.strip()
    if re.fullmatch(r"\d{4}(-\d{2})?", text):
        text += "-01-01"[: 10 - len(text)]
    chosen = datetime.fromisoformat(text).date()
    if chosen.year not in YEARS:
        raise ValueError(f"{text} is not in the years {YEARS[0]} to {YEARS[-1]}")
    return float(chosen.toordinal() - EPOCH)


_WRITTEN = Readable(day, "a date", "2015-09-01")
Date = Annotated[str, _WRITTEN]
Dates = Annotated[tuple[str, ...], _WRITTEN]


def year(days: np.ndarray | float) -> np.ndarray:
    """Days since 1 January 1970 as years (2015.5 is midway through 2015); float64.

    All years have the same length, so that a line that is straight in days is straight in years.
    """
    return 1970.0 + np.asarray(days, np.float64) / DAYS_PER_YEAR


def iso(days: float) -> str:
    """The date of a day since 1 January 1970, as 2015-09-01."""
    return date.fromordinal(math.floor(days) + EPOCH).isoformat()


# --- tables --------------------------------------------------------------------------------------


def read(path: Path = PAPER) -> Systems:
    """Read a table of systems: CSV in UTF-8 with a heading, in any order, with extra columns.

    The columns are system, publication_date and training_compute_flop; the headings "Publication
    date" or "Training compute (FLOP)" work too. Dates are as in `day` or dd/mm/yyyy; FLOP is
    written 1e21 or 1,000,000. Rows without compute or date are counted. Dates with slashes are
    mm/dd/yyyy if one of them can be nothing else; if some are ambiguous, ``origin`` says how they
    were read.

    Raises:
        Problem: the table cannot be used; the sentence names the row and the column. Row 1 is the
            heading, as in a spreadsheet.
    """
    content = _content(path)
    table = _cells(path, content)
    month_first, read_as = _order_of_dates(table)
    found: list[tuple[float, float, str]] = []
    seen: dict[tuple[str, float], str] = {}
    without_compute = without_date = 0
    for where, cell in table:
        flop, when = _flop(where, cell[COMPUTE]), _day(where, cell[PUBLISHED], month_first)
        if flop is None:
            without_compute += 1
        elif when is None:
            without_date += 1
        elif not cell[NAME]:
            raise Problem(f"{where}, column {NAME}: the cell is empty: give the system a name.")
        else:
            first = seen.setdefault((cell[NAME].casefold(), when), where)
            if first != where:
                raise Problem(
                    f"{where}, column {NAME}: {cell[NAME]!r} of {iso(when)} is already in "
                    f"{first.rpartition(', ')[2]}: remove one of them, or give them different "
                    "names."
                )
            found.append((when, math.log10(flop), cell[NAME]))
    if len(found) > MOST_SYSTEMS:
        raise Problem(f"{path.name} has {len(found)} systems; at most {MOST_SYSTEMS} are allowed.")
    found.sort(key=lambda row: row[0])
    dates, log_compute, names = zip(*found, strict=True) if found else [()] * 3
    left_out = f"{without_compute} rows without compute"
    left_out += f" and {without_date} without a date" if without_date else ""
    ours = content == PAPER.read_bytes()
    source = f"The project's table from {ATTRIBUTION}" if ours else "A user-provided table"
    systems = Systems(
        names=names,
        dates=np.array(dates),
        log_compute=np.array(log_compute),
        without_compute=without_compute,
        without_date=without_date,
        version="2022-03" if ours else path.name,
        digest=hashlib.sha256(content).hexdigest(),
        origin=f"{source}: {len(found)} systems; left out: {left_out}{read_as}.",
        licence="CC BY 4.0" if ours else "unknown",
    )
    some = f" (left out: {left_out})" if without_compute or without_date else ""
    check_enough(path.name + some, systems.dates, systems.log_compute)
    return systems


def check_enough(source: str, dates: np.ndarray, log_compute: np.ndarray) -> None:
    """Refuse systems that no trend can be fitted to: dates (n,) in order, log10 FLOP (n,).

    Raises:
        Problem: there are too few systems, all are from one month, or all have the same compute;
            ``source`` names them and starts the sentence.
    """
    if len(dates) < LEAST_SYSTEMS:
        raise Problem(
            f"{source} has too few systems with a date and a compute: {len(dates)}, but a trend "
            f"needs at least {LEAST_SYSTEMS}."
        )
    if dates[-1] - dates[0] < 31:
        raise Problem(
            f"{source} has only systems from {iso(dates[0])} to {iso(dates[-1])}, but a trend "
            "needs more than a month."
        )
    if len(set(log_compute)) == 1:
        raise Problem(f"{source} has only systems with the same compute, so no growth can be seen.")


def _content(path: Path) -> bytes:
    try:
        if not path.is_file():
            raise Problem(f"There is no file {path}: name a table with --table FILE.csv.")
        size = path.stat().st_size
        if size > MOST_BYTES:
            raise Problem(
                f"{path.name} has {size / 1e6:.0f} MB, but at most {MOST_BYTES / 1e6:.0f} MB are "
                "allowed: leave out columns and rows that are not needed."
            )
        return path.read_bytes()
    except OSError as error:
        raise Problem(f"{path} cannot be read ({error.strerror}).") from None


def _rows(path: Path, content: bytes) -> list[tuple[int, list[str]]]:
    """The non-empty rows with their numbers, the heading first."""
    reader = None
    try:
        reader = csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True)
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


def _cells(path: Path, content: bytes) -> list[tuple[str, dict[str, str]]]:
    """The location of each non-empty row, and its cells by column.

    Cells are empty where the row is too short.
    """
    (_, heading), *rows = _rows(path, content)
    places = _places(path, heading)
    table = []
    for number, cells in rows:
        where = f"{path.name}, row {number}"
        if any(cell.strip() for cell in cells[len(heading) :]):  # trailing commas are fine
            raise Problem(
                f"{where}, has {len(cells)} cells under {len(heading)} headings: "
                "put a cell that contains a comma in double quotes."
            )
        found = {}
        for name, place in places.items():
            text = cells[place] if place < len(cells) else ""
            if UNSHOWABLE.search(text.replace("\r\n", "\n")):
                raise Problem(
                    f"{where}, column {name}: '{showable(text)[:40]}' contains a control "
                    "character: remove it."
                )
            found[name] = " ".join(text.split())
        table.append((where, found))
    return table


def _places(path: Path, heading: list[str]) -> dict[str, int]:
    """The position of each column."""
    known = [re.sub(r"[\W_]", "", title).casefold() for title in heading]
    places = {}
    for column, titles in HEADINGS.items():
        title = next((title for title in titles if title in known), None)
        if title is None:
            raise Problem(
                f"{path.name}, row 1, has no column {column}; it has "
                f"{', '.join(map(repr, heading[:12]))}: it needs {', '.join(HEADINGS)}, separated "
                "by commas."
            )
        if known.count(title) > 1:
            raise Problem(f"{path.name}, row 1, has the column {column} twice.")
        places[column] = known.index(title)
    return places


def _flop(where: str, text: str) -> float | None:
    value = float(text.replace(",", "")) if _NUMBER.fullmatch(text) else math.nan
    if text and not FLOP[0] <= value <= FLOP[1]:
        raise Problem(
            f"{where}, column {COMPUTE}: {text[:40]!r} is not a training compute from 1 to 10^60 "
            "FLOP: write 1e21 or 1,000,000, or leave the cell empty if it is unknown."
        )
    return value if text else None


def _order_of_dates(table: list[tuple[str, dict[str, str]]]) -> tuple[bool, str]:
    """Whether dates with slashes have the month first, and a remark if some are ambiguous.

    Raises:
        Problem: some can only be read day first, and some only month first.
    """
    seen: dict[str, tuple[str, str]] = {}  # the first date of each kind
    for where, cell in table:
        if slashed := _SLASHED.fullmatch(cell[PUBLISHED]):
            first, second = int(slashed[1]), int(slashed[2])
            kind = "day" if first > 12 >= second else "month" if second > 12 >= first else "either"
            if first != second:
                seen.setdefault(kind, (where, cell[PUBLISHED]))
    if "day" in seen and "month" in seen:
        (where, text), (other, day_first) = seen["month"], seen["day"]
        raise Problem(
            f"{where}, column {PUBLISHED}: {text} has the month first, but {day_first} in "
            f"{other.rpartition(', ')[2]} has the day first: write dates as 2015-09-30."
        )
    order = "month" if "month" in seen else "day"
    either = seen.get("either")
    return order == "month", f"; dates such as {either[1]} are read {order} first" if either else ""


def _day(where: str, text: str, month_first: bool) -> float | None:
    written = text
    if slashed := _SLASHED.fullmatch(text):
        first, second, of_year = slashed.groups()
        month, of_month = (first, second) if month_first else (second, first)
        written = f"{of_year}-{month:0>2}-{of_month:0>2}"
    try:
        return day(written) if written else None
    except ValueError:
        order = "09/30/2015 (month first)" if month_first else "30/09/2015 (day first)"
        raise Problem(
            f"{where}, column {PUBLISHED}: {text[:40]!r} is not a date from {YEARS[0]} to "
            f"{YEARS[-1]}: write 2015-09-30, {order}, 2015-09 or 2015, or leave the cell empty if "
            "it is unknown."
        ) from None
