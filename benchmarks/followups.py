"""Ask follow-up questions through `balcao ask --conversation`, and count what comes.

.venv/bin/python -m benchmarks.followups
.venv/bin/python -m benchmarks.followups --part tune --show

Each conversation begins with a product's number. `answer` in the file of questions is a text that
a right answer contains, or a list of such texts; null: the catalogue does not have it. Prints the
times of the look-up and of whole answers, and by part, language and whether there is an answer:

  right     at most two sentences, with the answer in them, and nothing that marks a guess;
            the description, if the question asks for it
  guessed   the answer is in the sentences offered as a guess
  no        "I couldn't find that", though it is there;  lost: the product in hand changed
  wrong     other sentences
  told      of the questions without an answer: told so, or given sentences marked as a guess
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from engine.catalogue.language.passages import asks_for_all, split_sentences

_HERE = Path(__file__).parent
_MAX_SENTENCES = 2
_WARM_UP = 5
"""Questions that are not timed: the first one loads the encoder."""


def main() -> None:
    """Ask, judge and count."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--catalogue", type=Path, help="default: the sample")
    parser.add_argument(
        "--questions", type=Path, default=_HERE / "questions_followups.jsonl", metavar="FILE"
    )
    parser.add_argument("--part", help="questions of one part only: tune, test, second, …")
    parser.add_argument("--show", action="store_true", help="print what was not right")
    options = parser.parse_args()
    questions = [json.loads(line) for line in options.questions.read_text().splitlines()]
    questions = [one for one in questions if options.part in {None, one["part"]}]
    outcomes: dict[str, Counter[str]] = {}
    answers = _ask(questions, options.catalogue)
    for question, answer in zip(questions, answers, strict=True):
        outcome = _judge(question, answer)
        known = "answer" if question["answer"] is not None else "no answer"
        key = f"{question['part']:7} {question['language']} {known}"
        outcomes.setdefault(key, Counter())[outcome] += 1
        if options.show and outcome not in {"right", "told"}:
            shown = answer["answer"][:300].replace("\n", " ")
            print(f"{outcome:8}{question['question']}  [{question['answer']}]\n        {shown}")
    for key, counts in sorted(outcomes.items()):
        print(key, dict(counts.most_common()))
    for step in ("retrieval", "total"):
        times = sorted(answer["timing_ms"][step] for answer in answers[_WARM_UP:])
        p50, p95 = times[len(times) // 2], times[len(times) * 95 // 100]
        print(f"{step}: p50 {p50:.0f} ms, p95 {p95:.0f} ms")


def _ask(questions: list[dict[str, Any]], catalogue: Path | None) -> list[dict[str, Any]]:
    """Return the answer to each question, asked after its product's number."""
    lines = "".join(f"{one['uid']}\n{one['question']}\n\n" for one in questions)
    where = ["--catalogue", str(catalogue)] if catalogue else []
    command = [sys.executable, "-m", "scripts.cli", "ask", "--engine", "catalogue", *where]
    with tempfile.TemporaryDirectory() as home:
        done = subprocess.run(
            [*command, "--json", "--conversation", "-"],
            input=lines,
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "BALCAO_HOME": home},
        )
    return [json.loads(line) for line in done.stdout.splitlines()][1::2]


def _judge(question: dict[str, Any], answer: dict[str, Any]) -> str:
    expected, text = question["answer"], answer["answer"]
    accepted = [expected] if isinstance(expected, str) else expected or []
    record = answer["sources"][0] if answer["sources"] else {"uid": "", "description": ""}
    if record["uid"] != question["uid"] or answer["status"] == "several":
        return "lost"
    quoted = text in record["description"] or answer["fidelity"] == 1
    if expected is None:
        return "wrong" if quoted else "told"
    has_answer = any(one in text for one in accepted)
    if not quoted:
        title = any(one in record["title"] for one in accepted)
        return "right" if title and has_answer else "guessed" if has_answer else "no"
    is_short = len(split_sentences(text)) <= _MAX_SENTENCES
    if has_answer and (is_short or asks_for_all(question["question"])):
        return "right"
    return "wrong"


if __name__ == "__main__":
    main()
