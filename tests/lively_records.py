"""Records for the tests of the site: with curves, runs that diverged, and markup in every field."""

from __future__ import annotations

import html.parser

import numpy as np

from jaxtrends import plotting, record, webpage
from jaxtrends.webpage_record import Source
from tests.example_record import example

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)> \"'</script><!-- &amp; {{ 7 * 7 }}"


def lively(preset="default", *, seeds=range(10), shift=0.0, digest="d" * 64, diverged=()):
    """A record of a training study with curves, and the curves."""
    made = example(preset)
    random = np.random.default_rng(1)
    steps = np.arange(1, 51)
    arms, arrays = {}, {}
    for number, method in enumerate(("backprop", "forward", "clipped")):
        rates = np.array([0.04 * np.exp(0.1 * random.normal()) for _ in seeds])[:, None]
        lanes = 2.3 * np.exp(-rates * steps) + shift + 0.1 * number
        if method == "clipped":
            lanes[list(diverged), 20:] = np.inf
        arrays[f"training/mlp/tuned/{method}/validation_loss"] = lanes.astype(np.float32)
        arrays[f"training/mlp/tuned/{method}/training_loss"] = (0.9 * lanes).astype(np.float32)
        arms[method] = {"final_loss": lanes[:, -1]}
    made["results"]["studies"]["training"]["values"] = record.plain(
        {"tasks": {"mlp": {"seeds": list(seeds), "log_every": 20, "tuned": arms}}}
    )
    made["measurements"]["studies"]["training"]["values"] = {
        "step_seconds": {"mlp": {"backprop": [0.01, 0.02, 0.03], "forward": [0.03]}}
    }
    made["results"]["data"]["mnist_5k"]["digest"] = digest
    made["results"]["config"]["seeds"] = len(seeds)
    return made, arrays


def source(made, arrays=None, *, drawn=None, published=True, place="", stale=()):
    return Source(made, arrays or {}, drawn or {}, published, place or "a/b", stale)


def draw_example(folder):
    """The example's figures as SVG, by name, and one of them as its headline figure."""
    figures = (
        example()["results"]["studies"]["estimators"]["figures"]
        + example()["measurements"]["studies"]["cost"]["figures"]
    )
    for figure in figures:
        plotting.draw(figure, folder)
    drawn = {path.stem: path.read_text(encoding="utf-8") for path in folder.glob("*.svg")}
    return drawn | {"headline": drawn["cost"]}


def with_headline_figure(made):
    """The record, with its last figure as its headline figure."""
    (figure,) = made["measurements"]["studies"]["cost"]["figures"]
    return made | {"figure": figure | {"name": "headline"}}


def lively_sources(drawn):
    """Two published records of one paper, a run of the user's of the same, and a hostile one."""
    first, first_curves = lively("full", diverged=(0, 1))
    second, second_curves = lively("default", shift=0.05, diverged=(0,))
    mine, mine_curves = lively("smoke", seeds=range(5, 13), digest="e" * 64)
    bare = with_headline_figure(example())
    for part in ("about", "answer", "caveat", "scale", "rigging", "experiment"):
        bare[part] = HOSTILE
    bare["departures"] = [HOSTILE]
    bare["paper"]["title"] = bare["paper"]["authors"] = HOSTILE
    bare["paper"]["arxiv"] = ""
    bare["figure"]["title"] = HOSTILE
    bare["provenance"]["command"] = HOSTILE
    bare["results"]["config"] |= {HOSTILE: HOSTILE, "__proto__": {"polluted": HOSTILE}}
    bare["results"]["studies"]["training"]["figures"][0]["title"] = HOSTILE
    bare["results"]["studies"]["estimators"]["tables"][0]["columns"][0] = HOSTILE
    for entry in record.entries(bare):
        entry["claim"]["statement"] = entry["claim"]["reason"] = HOSTILE
    few = {name: drawn[name] for name in ("cost", "headline")}
    return [
        source(with_headline_figure(first), first_curves, drawn=few, stale=["cost"]),
        source(second, second_curves),
        source(mine, mine_curves, published=False, place="../runs/mine"),
        source(bare, drawn=few, published=False, place=f"../runs/{HOSTILE}"),
    ]


def of_papers(drawn, presets=("large", "full", "default", "default-gpu")):
    """Records of every paper of the newsletters, with figures and curves, as many as presets."""
    found = []
    for paper in webpage.papers():
        for preset in presets:
            made, arrays = lively(preset)
            made["experiment"] = paper["experiments"][0]
            made["paper"] |= {key: paper[key] for key in ("title", "authors", "year", "arxiv")}
            found.append(source(with_headline_figure(made), arrays, drawn=drawn))
    return found


class Page(html.parser.HTMLParser):
    """Elements of a page: (tag, attributes), and the text inside scripts."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.scripts, self._inside = [], [], False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self._inside = tag == "script"
        if self._inside:
            self.scripts.append("")

    def handle_endtag(self, tag):
        self._inside = False

    def handle_data(self, data):
        if self._inside:
            self.scripts[-1] += data
