"""Calibrate an adapter that was trained before `balcao train` did so, and write its manifest.

python -m tools.calibrate --rows models/smollm2-rows --adapter data/smollm2_adapter
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec

from engine.backends.llama.engine import LlamaConfig, LlamaEngine
from engine.core.files import MANIFEST, write_atomic, write_manifest
from engine.core.text import one_line
from engine.core.trained_products import FIRST_TOKENS, AdapterManifest
from engine.core.types import Decision, Message, Mode, Request, Role, Status, mean_logprob
from engine.evaluation.confidence import calibrate
from engine.prompts import begins_refusal
from engine.training.data import read_data, taught_products
from engine.training.exam import make_exam
from engine.training.openai.plan import TrainingRow
from engine.training.runs.folder import calibration_lines, model_card


def main() -> None:
    """Ask in the chat's own runtime, and write the thresholds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=Path, required=True, help="the rows it was trained on")
    parser.add_argument("--adapter", type=Path, required=True)
    parser.add_argument("--base", default="smollm2")
    parser.add_argument("--count", type=int, default=60, help="questions of each kind")
    options = parser.parse_args()
    data = read_data(options.rows)
    exam = make_exam(data, taught_products(data.folder), options.count, seed=1)
    known = [row for rows in exam.known.values() for row in rows]
    unknown = [row for rows in exam.unknown.values() for row in rows]
    config = LlamaConfig(model=options.base, adapter=str(options.adapter))
    said = asyncio.run(_ask(LlamaEngine.create("lora", config, {}), [*known, *unknown]))
    right: list[float] = []
    wrong: list[float] = []
    for place, (row, (text, likely)) in enumerate(zip([*known, *unknown], said, strict=True)):
        if likely is not None and not begins_refusal(text):
            wanted = " ".join(row.messages[-1].content.split())
            is_right = place < len(known) and wanted.startswith(" ".join(text.split()))
            (right if is_right else wrong).append(likely)
    manifest = msgspec.json.decode((options.adapter / MANIFEST).read_bytes(), type=AdapterManifest)
    manifest = msgspec.structs.replace(manifest, calibration=calibrate(right, wrong))
    write_manifest(options.adapter, manifest)
    write_atomic(options.adapter / "README.md", model_card(manifest).encode())
    print(*calibration_lines(manifest.calibration), sep="\n")


async def _ask(engine: LlamaEngine, rows: list[TrainingRow]) -> list[tuple[str, float | None]]:
    """Return the beginning of each answer, and the mean log-probability of its tokens."""
    found = []
    for number, row in enumerate(rows):
        request = Request(
            row.messages[-2].content, Mode.MEMORY, tuple(_prompt(row)), Decision(Status.NONE),
            max_tokens=FIRST_TOKENS,
        )  # fmt: skip
        chunks = [chunk async for chunk in engine.stream(request)]
        text = "".join(chunk.text for chunk in chunks).strip()
        logprobs = [one for chunk in chunks for one in chunk.logprobs]
        found.append((text, mean_logprob(logprobs, FIRST_TOKENS)))
        likely = found[-1][1]
        sure = "" if likely is None else f"{likely:.3f}"
        print(
            number, sure, one_line(request.question, 60), "→", one_line(text, 60), file=sys.stderr
        )
    await engine.unload()
    return found


def _prompt(row: TrainingRow) -> Iterator[Message]:
    return (Message(Role(one.role), one.content) for one in row.messages[:-1])


if __name__ == "__main__":
    main()
