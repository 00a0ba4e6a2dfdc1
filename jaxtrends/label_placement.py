"""Where labels go: near what they name, and off one another, the marks and the frame's edges.

Every label has candidates, boxes that it may take; each candidate has a cost of its own (what it
covers, how far it is), and two boxes that overlap cost more than anything. Labels choose one after
the other, and again while any of them finds a better place: the same input, the same answer. All
lengths are in one unit, pixels say; a box is (left, bottom, right, top).
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

OUTSIDE = 1e6
OVERLAP = 1e4
CROSSED = 300.0  # a leader through another label, or through its leader
HIDDEN_DOT = 200.0
HIDDEN_TRACE = 40.0  # a line's sample under a label
TOUCHES = 500.0  # a line's name nearer than it should be to anything
AMBIGUOUS = 150.0  # a line's name that might be another's
MOST_TURNED = 8  # rules whose flags are tried on both sides
STRUCK_DOT = 15.0  # a marker under a leader
ROUNDS = 30
ANGLES = np.deg2rad([30, 150, -30, -150, 0, 180, 90, -90, 60, 120, -60, -120])
REACH = (0.0, 0.4, 1.0, 1.8, 2.8, 4.0, 5.5, 7.5, 10.0, 13.0)  # in heights of the label


@dataclass(frozen=True)
class Candidates:
    """The places of one label: boxes (n, 4), leaders' ends (n, 2, 2), own costs (n,)."""

    boxes: np.ndarray
    leaders: np.ndarray
    costs: np.ndarray


class Flag(NamedTuple):
    """The name of a rule: whether it lies to its left, and how many rows above the frame."""

    left: bool
    row: int


def around(point: np.ndarray, size: np.ndarray, gap: float) -> Candidates:
    """Places round a point (2,) for a label of a size (2,), at least ``gap`` away from it."""
    reach = gap + np.repeat(np.asarray(REACH) * size[1], ANGLES.size)
    angles = np.tile(ANGLES, len(REACH))
    direction = np.stack([np.cos(angles), np.sin(angles)], axis=-1)
    centres = point + direction * (size / 2 + reach[:, None])
    boxes = np.concatenate([centres - size / 2, centres + size / 2], axis=-1)
    ends = np.clip(point, boxes[:, :2], boxes[:, 2:])
    leaders = np.stack([np.broadcast_to(point, ends.shape), ends], axis=1)
    # The first angles are what a reader expects; they win where places are equal otherwise.
    preference = np.tile(np.arange(ANGLES.size) * 0.1, len(REACH))
    return Candidates(boxes, leaders, reach + preference)


def near(
    own: np.ndarray, others: np.ndarray, size: np.ndarray, frame: np.ndarray, gap: float
) -> Candidates:
    """Places all over the frame for the name of a line or a cloud, the closer to it the better.

    Args:
        own:    points on what is named (n, 2), the last of them where a reader looks first.
        others: points on all else (m, 2), to which a name must not seem to belong.
        size:   of the label (2,).
        frame:  the box (4,) to stay in.
        gap:    the distance to keep from anything.
    """
    span = np.maximum(frame[2:] - size - frame[:2], 0)
    counts = np.clip(span / gap / 1.5, 2, (70, 50)).astype(int)
    steps = [np.linspace(0, one, n) for one, n in zip(span, counts, strict=True)]
    left, bottom = np.meshgrid(*steps)
    corners = frame[:2] + np.stack([left.ravel(), bottom.ravel()], axis=-1)
    boxes = np.concatenate([corners, corners + size], axis=-1)
    mine, nearest = _distance(boxes, own)
    other, _ = _distance(boxes, others)
    points = own[nearest]
    ends = np.clip(points, boxes[:, :2], boxes[:, 2:])
    from_end = np.hypot(*(points - own[-1]).T)
    free = (mine >= gap) & (other >= gap)
    doubtful = other < 1.5 * mine
    doubtful[free] |= _parted(points[free], ends[free], others, gap / 3)
    costs = mine + from_end / 20 + TOUCHES * ~free + AMBIGUOUS * doubtful
    return Candidates(boxes, np.stack([points, ends], axis=1), costs)


def _parted(starts: np.ndarray, ends: np.ndarray, others: np.ndarray, gap: float) -> np.ndarray:
    """Whether something else lies between each of the points (n, 2) and its end (n, 2): (n,)."""
    way = [starts + share * (ends - starts) for share in (0.25, 0.5, 0.75, 1.0)]
    return np.min([_distance(np.tile(at, 2), others)[0] for at in way], axis=0) < gap


def _distance(boxes: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """From each box (n, 4) to the nearest of the points (p, 2): how far, and which it is."""
    if not len(points):
        return np.full(len(boxes), np.inf), np.zeros(len(boxes), int)
    x, y = points.T
    across = np.maximum(np.maximum(boxes[:, :1] - x, x - boxes[:, 2:3]), 0)
    up = np.maximum(np.maximum(boxes[:, 1:2] - y, y - boxes[:, 3:]), 0)
    distance = np.hypot(across, up)
    nearest = distance.argmin(axis=1)
    return distance[np.arange(len(boxes)), nearest], nearest


def flags(rules: np.ndarray, widths: np.ndarray, frame: tuple[float, float]) -> list[Flag]:
    """Rows and sides of the names of vertical rules, above the frame: no flag crosses a rule.

    A rule goes up to the row that its flag is in. All ways round are tried while they are few; the
    best is within the frame, and low.

    Args:
        rules:  where they stand (n,), in one unit with the rest.
        widths: of the flags (n,).
        frame:  the ends that flags should stay between.
    """
    few = len(rules) <= MOST_TURNED
    turned = itertools.product((False, True), repeat=len(rules)) if few else [(True,) * len(rules)]
    best: tuple[float, list[Flag]] = (math.inf, [])
    for left in turned:
        starts = np.where(left, rules - widths, rules)
        ends = starts + widths
        rows = _rows(rules, starts, ends)
        if rows is None:
            continue
        outside = np.maximum(frame[0] - starts, 0) + np.maximum(ends - frame[1], 0)
        cost = 100 * outside.sum() + widths.mean() * (max(rows) + sum(rows) / 100) + sum(left)
        if cost < best[0]:
            best = cost, [Flag(*one) for one in zip(left, rows, strict=True)]
    return best[1]


def _rows(rules: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> list[int] | None:
    """The lowest row of each flag (n,); None where two flags would each cross the other's rule."""
    over = (starts[:, None] < rules) & (rules < ends[:, None])
    meet = (starts[:, None] < ends) & (starts < ends[:, None])
    if (over & over.T & ~np.eye(len(rules), dtype=bool)).any():
        return None
    rows = [0] * len(rules)
    for _ in range(len(rules) ** 2):
        before = list(rows)
        for one, other in itertools.permutations(range(len(rules)), 2):
            if over[one, other]:
                rows[one] = max(rows[one], rows[other] + 1)
            elif meet[one, other] and not over[other, one] and rows[one] == rows[other]:
                rows[max(one, other)] += 1
        if rows == before:
            return rows
    return None


def _inside(points: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """How many of the points (p, 2) lie in each box (n, 4): (n,)."""
    x, y = points[:, 0], points[:, 1]
    left, bottom, right, top = (side[:, None] for side in boxes.T)
    return ((left < x) & (x < right) & (bottom < y) & (y < top)).sum(axis=1)


def _overlap(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Whether each of the boxes (n, 4) overlaps one (4,)."""
    return (
        (boxes[:, 0] < box[2])
        & (box[0] < boxes[:, 2])
        & (boxes[:, 1] < box[3])
        & (box[1] < boxes[:, 3])
    )


def _along(leaders: np.ndarray) -> np.ndarray:
    """Nine points on each leader (n, 2, 2), without its ends: (n, 9, 2)."""
    share = np.linspace(0.1, 0.9, 9)[:, None]
    return leaders[:, None, 0] * (1 - share) + leaders[:, None, 1] * share


def _crosses(leader: np.ndarray, leaders: np.ndarray) -> np.ndarray:
    """Whether each of the leaders (n, 2, 2) crosses one (2, 2)."""

    def side(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
        (ux, uy), (vx, vy) = (b - a).T, (c - a).T
        return np.sign(ux * vy - uy * vx)

    start, end = np.broadcast_to(leader[0], leaders[:, 0].shape), leader[1]
    end = np.broadcast_to(end, start.shape)
    own = side(start, end, leaders[:, 0]) * side(start, end, leaders[:, 1])
    other = side(leaders[:, 0], leaders[:, 1], start) * side(leaders[:, 0], leaders[:, 1], end)
    return (own < 0) & (other < 0)


def _struck(leaders: np.ndarray, dots: np.ndarray, pad: float) -> np.ndarray:
    """How many dots (p, 2) lie under each leader (n, 2, 2), the one it starts from left out."""
    start, way = leaders[:, None, 0], leaders[:, None, 1] - leaders[:, None, 0]
    length = np.maximum((way**2).sum(axis=-1), 1e-12)
    share = np.clip(((dots - start) * way).sum(axis=-1) / length, 0, 1)
    distance = np.hypot(*np.moveaxis(dots - start - share[..., None] * way, -1, 0))
    own = np.hypot(*np.moveaxis(dots - start, -1, 0)) < 1e-6
    return ((distance < pad) & ~own).sum(axis=1)


def choose(
    labels: list[Candidates], frame: np.ndarray, dots: np.ndarray, traces: np.ndarray, pad: float
) -> list[int]:
    """The candidate that each label takes.

    Args:
        labels: the candidates of every label.
        frame:  the box (4,) that no label may leave.
        dots:   centres of markers (p, 2), which labels keep ``pad`` away from.
        traces: points on lines (q, 2), which labels avoid where they can.
        pad:    half the size of a marker.
    """
    grow = np.array([-pad, -pad, pad, pad])
    costs = []
    for label in labels:
        low, high = label.boxes[:, :2], label.boxes[:, 2:]
        outside = (low < frame[:2]).any(axis=1) | (high > frame[2:]).any(axis=1)
        costs.append(
            label.costs
            + OUTSIDE * outside
            + HIDDEN_DOT * _inside(dots, label.boxes + grow)
            + HIDDEN_TRACE * _inside(traces, label.boxes)
            + STRUCK_DOT * _struck(label.leaders, dots, pad)
        )
    # The most hemmed in choose first.
    order = sorted(range(len(labels)), key=lambda own: -costs[own].min())
    chosen: dict[int, int] = {}
    for _ in range(ROUNDS):
        before = dict(chosen)
        for own in order:
            total = costs[own] + sum(
                _conflict(labels[own], labels[other], place)
                for other, place in chosen.items()
                if other != own
            )
            chosen[own] = int(total.argmin())
        if chosen == before:
            break
    return [chosen[own] for own in range(len(labels))]


def crossed(
    labels: list[Candidates], chosen: list[int], dots: np.ndarray, traces: np.ndarray
) -> bool:
    """Whether any label in its chosen place lies on a marker, a line or another label."""
    boxes = np.array([label.boxes[place] for label, place in zip(labels, chosen, strict=True)])
    if not len(boxes):
        return False
    together = any(_overlap(box, boxes[:place]).any() for place, box in enumerate(boxes))
    return bool(together or _inside(dots, boxes).any() or _inside(traces, boxes).any())


def _conflict(label: Candidates, other: Candidates, place: int) -> np.ndarray:
    """What each candidate of a label (n,) costs beside another label in its place."""
    box, leader = other.boxes[place], other.leaders[place]
    mine = _along(label.leaders)
    struck = ((mine > box[:2]) & (mine < box[2:])).all(axis=-1).any(axis=1)
    strikes = _inside(_along(leader[None])[0], label.boxes) > 0
    crossed = _crosses(leader, label.leaders)
    return OVERLAP * _overlap(box, label.boxes) + CROSSED * (
        struck.astype(float) + strikes + crossed
    )
