"""Token sequences as arrays: a synthetic lookup task, and English text as bytes.

``lookup`` has a known entropy, so that it is known how much is left to learn; ``english`` is real
text. Both give the same bits on every machine.
"""

from __future__ import annotations

import bz2
import hashlib
import html
import importlib.util
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from jaxtrends.errors import Problem, require_positive

VERSION = "1.0.0"  # raise it when the sequences change

SYMBOLS = 32  # of the lookup task
FAVOURED = 0.9  # probability of the favoured symbol; otherwise a uniform one

ENGLISH_FILE = "enwiki-latest-pages-articles1.xml-p000000010p000030302-shortened.bz2"
ENGLISH_DIGEST = "a53f4648dec40467ebdcbc7a1307eddb51fe6e28e9309f6ebde81ba0d04bea2d"
HELD_OUT_EVERY = 10  # one article in ten for validation, one for test


@dataclass(frozen=True)
class Windows:
    """Windows of tokens.

    inputs: (n, context) int32. labels: (n, context) int32, the next tokens. clusters: (n,) int32,
    the source of each; all 0 if there is only one.
    """

    inputs: np.ndarray
    labels: np.ndarray
    clusters: np.ndarray


@dataclass(frozen=True)
class Sequences:
    """Sequences in three disjoint splits.

    vocabulary: tokens are 0 to vocabulary - 1. floor: the lowest cross-entropy that any model can
    reach, in nats per token, if known. The rest is as in `jaxtrends.data.Dataset`.
    """

    name: str
    version: str
    digest: str
    vocabulary: int
    context: int
    floor: float | None
    train: Windows
    validation: Windows
    test: Windows
    licence: str
    origin: str


def lookup(
    *, clusters: int, context: int, training: int, held_out: int, seed: int, names: int = 1
) -> Sequences:
    """Sequences that follow one of several tables, named by their first token.

    Every cluster has a table with a favoured successor for each pair of symbols: the next symbol is
    the favoured one with probability 0.9, otherwise any of the 32. The first token is the cluster's
    name, followed by two random symbols. So a model must memorise clusters x 1,024 successors, and
    look back to the first token to know which apply. Most of the task is memory, which favours many
    parameters: a gain of mixtures here need not carry over to text.

    With two names, the first two tokens name the cluster together, as the sum of their numbers
    modulo the number of clusters; either alone says nothing about it. So one layer must work out
    the cluster before a later one can look up.

    Args:
        clusters: number of tables; with one, experts cannot specialise by table.
        context:  tokens per sequence, above 2 + ``names``; the same number of labels.
        training: training sequences.
        held_out: sequences in each of the other two splits.
        seed:     of tables and sequences.
        names:    tokens that name the cluster.

    Raises:
        Problem: a number is out of range.
    """
    require_positive(clusters=clusters, training=training, held_out=held_out, names=names)
    if context < names + 3:
        raise Problem(f"A lookup needs a context of at least {names + 3} tokens, not {context}.")
    generator = np.random.default_rng(seed)
    tables = generator.integers(0, SYMBOLS, (clusters, SYMBOLS, SYMBOLS), np.int32)
    count = training + 2 * held_out
    cluster = generator.integers(0, clusters, count, np.int32)
    tokens = np.empty((count, context + 1), np.int32)
    free = generator.integers(0, clusters, (count, names - 1), np.int32)
    last = (cluster - free.sum(axis=1, dtype=np.int32)) % clusters
    tokens[:, :names] = SYMBOLS + np.concatenate([free, last[:, None]], axis=1)
    tokens[:, names : names + 2] = generator.integers(0, SYMBOLS, (count, 2), np.int32)
    for place in range(names + 2, context + 1):
        favoured = tables[cluster, tokens[:, place - 2], tokens[:, place - 1]]
        other = generator.integers(0, SYMBOLS, count, np.int32)
        tokens[:, place] = np.where(generator.random(count) < FAVOURED, favoured, other)
    rest = (1 - FAVOURED) / SYMBOLS
    entropy = -(FAVOURED + rest) * math.log(FAVOURED + rest)
    entropy -= (SYMBOLS - 1) * rest * math.log(rest)
    unknown = (names - 1) * math.log(clusters) + 2 * math.log(SYMBOLS)
    floor = (unknown + (context - names - 1) * entropy) / context
    return _split(
        name="lookup",
        tokens=tokens,
        clusters=cluster,
        counts=(training, held_out),
        vocabulary=SYMBOLS + clusters,
        floor=floor,
        licence="none needed: synthetic",
        origin=f"Synthetic: {clusters} tables of favoured successors, named by the first "
        f"{names} token{'s' if names > 1 else ''}, seed {seed}.",
    )


def english(context: int, held_out: int = 1, path: Path | None = None) -> Sequences:
    """English Wikipedia articles as bytes: a bzip2 file of 106 articles, without markup.

    Of every ten articles, one is validation and one test; windows do not overlap.

    Args:
        context:  bytes per window.
        held_out: minimum windows in the validation and the test split.
        path:     the file; by default the one in the test data of the package gensim.

    Raises:
        Problem: the file is missing, different or too short.
    """
    require_positive(context=context)
    content = _english_file(path)
    splits: dict[str, list[bytes]] = {"train": [], "validation": [], "test": []}
    for number, text in enumerate(_articles(content)):
        role = {0: "validation", 1: "test"}.get(number % HELD_OUT_EVERY, "train")
        splits[role].append(text.encode())
    windows = []
    for texts in splits.values():
        stream = np.frombuffer(b"\n".join(texts), np.uint8).astype(np.int32)
        rows = (stream.size - 1) // context
        windows.append(
            np.stack([stream[: rows * context], stream[1 : rows * context + 1]], axis=1)
            .reshape(rows, context, 2)
            .transpose(0, 2, 1)
        )
    fewest = min(len(found) for found in windows)
    if fewest < held_out:
        raise Problem(
            f"The English text is too short: a split has {fewest} windows of {context} bytes, but "
            f"{held_out} are to be held out. Use a shorter context, or hold out fewer."
        )
    tokens = np.concatenate([np.concatenate([w[:, 0], w[:, 1, -1:]], axis=1) for w in windows])
    return _split(
        name="english",
        tokens=tokens,
        clusters=np.zeros(len(tokens), np.int32),
        counts=(len(windows[0]), len(windows[1])),
        vocabulary=256,
        floor=None,
        licence="CC BY-SA 3.0",
        origin="106 articles of English Wikipedia (2014), from the test data of gensim, as bytes.",
    )


def _split(
    *, tokens: np.ndarray, clusters: np.ndarray, counts: tuple[int, int], **about
) -> Sequences:
    ends = (counts[0], counts[0] + counts[1])
    parts = [
        Windows(part[:, :-1], part[:, 1:], group)
        for part, group in zip(np.split(tokens, ends), np.split(clusters, ends), strict=True)
    ]
    total = hashlib.sha256(f"{tokens.shape}{ends}".encode())
    total.update(np.ascontiguousarray(tokens, "<i4").tobytes())
    return Sequences(
        version=VERSION,
        digest=total.hexdigest(),
        context=tokens.shape[1] - 1,
        train=parts[0],
        validation=parts[1],
        test=parts[2],
        **about,
    )


def _english_file(path: Path | None) -> bytes:
    if path is None:
        found = importlib.util.find_spec("gensim")  # importing it takes a second
        if found is None or found.origin is None:
            raise Problem(
                "The English text comes from the package gensim, which is not installed: pip "
                "install 'jaxtrends[text]'."
            )
        path = Path(found.origin).parent / "test" / "test_data" / ENGLISH_FILE
    try:
        content = path.read_bytes()
    except OSError as error:
        raise Problem(
            f"The English text {path} cannot be read ({error.strerror}): reinstall gensim 4.4.0, "
            "or name the file."
        ) from None
    if hashlib.sha256(content).hexdigest() != ENGLISH_DIGEST:
        raise Problem(f"{path} is not the expected file: reinstall gensim 4.4.0.")
    return content


def _articles(content: bytes) -> Iterator[str]:
    """The articles of a Wikipedia dump, without redirects and markup."""
    import io
    import xml.etree.ElementTree as ElementTree

    def pages(file: BinaryIO) -> Iterator[dict[str, str]]:
        for _, element in ElementTree.iterparse(file):
            if element.tag.endswith("}page"):
                yield {part.tag.rpartition("}")[2]: part.text or "" for part in element.iter()}
                element.clear()

    with bz2.open(io.BytesIO(content)) as file:
        for page in pages(file):
            redirected = page["text"].lstrip()[:9].lower() == "#redirect"
            if page["ns"] == "0" and not redirected:
                yield plain_text(page["text"])


def plain_text(markup: str) -> str:
    """The readable text of Wikipedia markup, roughly: without templates, tables, files or notes."""
    text = re.sub(r"<!--.*?-->", "", markup, flags=re.DOTALL)
    text = re.sub(r"<ref[^>/]*/>", "", text)
    text = re.sub(r"<(ref|math|gallery|timeline|nowiki)\b[^>]*>.*?</\1>", "", text, flags=re.DOTALL)
    for innermost in (r"\{\{[^{}]*\}\}", r"\{\|[^{}]*?\|\}"):
        before = None
        while before != text:
            before, text = text, re.sub(innermost, "", text)
    # File captions can contain links, so the innermost links are replaced by their text first.
    text = re.sub(r"\[\[(?!(?:File|Image|Category):)(?:[^][|]*\|)?([^][|]*)\]\]", r"\1", text)
    text = re.sub(r"\[\[(?:File|Image|Category):[^][]*\]\]", "", text)
    text = re.sub(r"\[https?://\S+ ?([^]]*)\]", r"\1", text)
    text = re.sub(r"<[^<>]+>", "", text)
    text = re.sub(r"'{2,}", "", text)
    text = re.sub(r"^[=*#:;]+ ?|=+ *$", "", text, flags=re.MULTILINE)
    text = html.unescape(text).replace("\xa0", " ")
    return re.sub(r"\s*\n\s*", "\n", text).strip()
