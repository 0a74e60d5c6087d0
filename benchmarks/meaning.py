"""Time the search by meaning: loading the encoder, encoding, the scan, the neighbours of words.

    python -m benchmarks.meaning --catalogue DIR
    python -m benchmarks.meaning --rows 2250000

With --rows, the scan runs over as many random vectors. One core: OMP_NUM_THREADS=1 taskset -c 0.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np

from engine.catalogue import records
from engine.catalogue.vectors.encoder import DIMENSION, Vectors, shared_encoder
from engine.catalogue.vectors.files import VectorFiles, VectorWriter, quantise
from engine.catalogue.vectors.meaning import Meaning

Asked = TypeVar("Asked")
_QUESTIONS = Path(__file__).with_name("questions_followups.jsonl")
_CANDIDATES = 150
_AT_ONCE = 50_000


def timed(name: str, ask: Callable[[Asked], object], asked: Sequence[Asked]) -> None:
    """Print the median and the 95th percentile of asking each, after asking once."""
    ask(asked[0])
    taken = []
    for one in asked:
        began = time.perf_counter()
        ask(one)
        taken.append((time.perf_counter() - began) * 1000)
    p50, p95 = np.percentile(taken, [50, 95])
    print(f"{name:<24} p50 {p50:7.1f} ms   p95 {p95:7.1f} ms")


def write_random(folder: Path, count: int) -> VectorFiles:
    """Write random vectors."""
    draw = np.random.default_rng(1)
    with VectorWriter(folder, "random") as writer:
        for start in range(0, count, _AT_ONCE):
            made = draw.normal(size=(min(_AT_ONCE, count - start), DIMENSION)).astype(np.float32)
            writer.write(start, quantise(made / np.linalg.norm(made, axis=1, keepdims=True)))
        writer.finish()
    return VectorFiles(folder, "random")


def main(argv: Sequence[str] | None = None) -> int:
    """Time each part."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--catalogue", type=Path)
    parser.add_argument("--rows", type=int, default=0)
    options = parser.parse_args(argv)
    began = time.perf_counter()
    encoder = shared_encoder()
    print(f"{'load the encoder':<24} {(time.perf_counter() - began) * 1000:7.1f} ms")
    questions = [json.loads(line)["question"] for line in _QUESTIONS.open(encoding="utf-8")]
    vectors: list[Vectors] = [encoder.encode([question])[0] for question in questions]
    timed("encode a question", lambda question: encoder.encode([question]), questions)
    if options.rows:
        with tempfile.TemporaryDirectory() as folder:
            stored = write_random(Path(folder), options.rows)
            timed("scan", lambda vector: stored.nearest(vector, _CANDIDATES), vectors)
    if options.catalogue:
        time_catalogue(options.catalogue, questions, vectors)
    return 0


def time_catalogue(folder: Path, questions: Sequence[str], vectors: Sequence[Vectors]) -> None:
    """Time the vectors of an index, and print their size."""
    meaning = Meaning.open(folder)
    if meaning is None:
        sys.exit(records.meaning_problem(folder, records.read_manifest(folder)))
    size = sum(file.stat().st_blocks * 512 for file in (folder / records.MEANING).iterdir())
    print(f"{'disk':<24} {size / 1e6:7.1f} MB")
    timed("scan", lambda vector: meaning.candidates(vector, _CANDIDATES), vectors)
    words = list(dict.fromkeys(word for question in questions for word in question.split()))
    timed("neighbours of a word", meaning.neighbours, words)


if __name__ == "__main__":
    sys.exit(main())
