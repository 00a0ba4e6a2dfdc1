"""A record as pandas tables, one row an observation: its claims, their samples, its curves.

Numbers that are not finite, which JSON has as texts, are floats here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxtrends import curves as naming

if TYPE_CHECKING:
    import pandas as pd

TEXT, NUMBER, WHOLE = "str", "float64", "int64"

# Column -> its type.
CLAIMS = {
    **{"claim": TEXT, "verdict": TEXT, "estimate": NUMBER, "low": NUMBER, "high": NUMBER},
    **{"n": "Int64", "part": TEXT, "note": TEXT, "statement": TEXT, "reported": TEXT},
    **{"where": TEXT, "source": TEXT, "headline": "bool", "study": TEXT, "about": TEXT},
    **{"quantity": TEXT, "statistic": TEXT, "region_low": NUMBER, "region_high": NUMBER},
}
SAMPLES = {"claim": TEXT, "part": TEXT, "arm": TEXT, "seed": WHOLE, "value": NUMBER}
CURVES = {
    **{"study": TEXT, "task": TEXT, "arm": TEXT, "learning_rate": NUMBER, "seed": WHOLE},
    **{"metric": TEXT, "point": WHOLE, "step": NUMBER, "value": NUMBER},
}


def claims(entries: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """A row a claim: its verdict, the estimate and interval of the part that decides, its wording.

    Args:
        entries: as in `jaxtrends.record.entries`.
    """
    return _table([_of_claim(entry) for entry in entries], CLAIMS)


def _of_claim(entry: Mapping[str, Any]) -> dict[str, Any]:
    claim, verdict = entry["claim"], entry["verdict"]
    decisive = verdict["parts"].get(verdict["headline"], {})
    low, high = claim["region"]
    return {
        **claim,
        "claim": claim["id"],
        "verdict": verdict["verdict"],
        **{name: _number(decisive.get(name)) for name in ("estimate", "low", "high")},
        "n": decisive.get("n"),
        "part": verdict["headline"],
        "note": verdict["note"],
        "headline": claim.get("headline", False),
        "region_low": _number(low),
        "region_high": _number(high),
    }


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)


def _table(rows: Any, columns: Mapping[str, str]) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(rows, columns=list(columns)).astype(dict(columns))


def samples(entries: Sequence[Mapping[str, Any]], first: int) -> pd.DataFrame:
    """A row a number of the samples that claims are judged by, in columns `SAMPLES`.

    ``arm`` is ``treatment`` or ``reference``, or ``values`` where a claim is about one number a
    seed. Samples count seeds up from the first; those of a time count its rounds so.

    Args:
        entries: as in `jaxtrends.record.entries`.
        first:   the first seed.
    """
    rows = [
        (entry["claim"]["id"], part, arm, first + place, float(value))
        for entry in entries
        for part, sample in entry["evidence"]["parts"].items()
        for arm, values in sample.items()
        for place, value in enumerate(values)
    ]
    return _table(rows, SAMPLES)


def curves(done: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> pd.DataFrame:
    """A row a point of a lane's curve, in columns `CURVES`.

    ``point`` counts from 1; ``step`` is the training step, nan where the record does not tell, as
    is ``learning_rate``.

    Args:
        done:   the record.
        arrays: name -> (lanes, points), as in its curves.npz; others (a sample, say) are no curves.
    """
    found = {n: a for n, a in arrays.items() if a.ndim == 2 and a.dtype.kind in "fiu"}
    parts = [_of_curve(done, naming.parse(name), array) for name, array in found.items()]
    joined = {name: np.concatenate([part[name] for part in parts]) for name in CURVES if parts}
    return _table(joined, CURVES)


def _of_curve(
    done: Mapping[str, Any], name: naming.Name, array: np.ndarray
) -> dict[str, np.ndarray]:
    """The columns of one curve's rows: all points of its first lane, then those of the next."""
    lanes, points = array.shape
    at = naming.steps(done, name, points)
    same = {
        "study": name.study,
        "task": name.task,
        "arm": name.arm,
        "metric": name.metric,
        "learning_rate": naming.learning_rate(done, name),
    }
    return {
        **{column: np.repeat(value, array.size) for column, value in same.items()},
        "seed": np.repeat(naming.seeds(done, name, lanes), points),
        "point": np.tile(np.arange(1, points + 1), lanes),
        "step": np.tile(np.full(points, np.nan) if at is None else at, lanes).astype(np.float64),
        "value": array.astype(np.float64).ravel(),
    }
