"""Where labels go: near what they name, and off one another, the marks and the frame's edges.

Every label has candidates, boxes that it may take; each candidate has a cost of its own (what it
covers, how far it is), and two boxes that overlap cost more than anything. Labels choose one after
the other, and again while any of them finds a better place: the same input, the same answer. All
lengths are in one unit, pixels say; a box is (left, bottom, right, top).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

OUTSIDE = 1e6
OVERLAP = 1e4
CROSSED = 300.0  # a leader through another label, or through its leader
HIDDEN_DOT = 200.0
HIDDEN_TRACE = 12.0  # a line's sample under a label
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


def beside(x: float, size: np.ndarray, frame: np.ndarray, gap: float) -> Candidates:
    """Places beside a vertical rule at ``x``: its top, its foot and between, right before left."""
    bottoms = np.linspace(frame[3] - size[1] - gap, frame[1] + gap, 9)
    lefts = np.array([x + gap, x - gap - size[0]])
    left, bottom = np.tile(lefts, bottoms.size), np.repeat(bottoms, 2)
    boxes = np.stack([left, bottom, left + size[0], bottom + size[1]], axis=-1)
    middle = np.stack([np.full_like(left, x), bottom + size[1] / 2], axis=-1)
    # Nine heights: the ends are better than the middle.
    costs = np.repeat([0, 9, 12, 15, 18, 14, 10, 6, 2], 2) + np.tile([0.0, 0.5], bottoms.size)
    return Candidates(boxes, np.stack([middle, middle], axis=1), costs)


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
