"""Measures how faithful engines are: `balcao evaluate --data test.jsonl --engines base,lora …`.

python -m scripts.evaluate --data rows/test.jsonl --engines catalogue,lora:memory --out report
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from contextlib import aclosing, closing
from pathlib import Path
from typing import Any

import msgspec

from engine.backends.registry import Registry
from engine.catalogue.catalogue import Catalogue, Retriever
from engine.chat.answer import Assistant
from engine.chat.open import open_catalogue
from engine.config.settings import OpenAIEngine, Settings, load
from engine.core.errors import EngineUnavailable, UsageError
from engine.core.events import Answered, Loading
from engine.core.files import Manifest, describe_file, read_manifest, write_manifest
from engine.core.text import one_line
from engine.core.types import Answer, Conversation, Progress
from engine.evaluation import render, report
from engine.evaluation import render as report_words
from engine.evaluation import run as cost
from engine.evaluation.ask import NAME, AnswerFile, Asked, parse
from engine.evaluation.metrics import check_packages
from engine.evaluation.questions import Question, from_files, invented
from engine.evaluation.report import Report
from engine.evaluation.run import Outcome, run, to_do
from engine.evaluation.statistics import RESAMPLES
from engine.prompts import PROMPT_VERSION
from scripts.common import DONE, FAILED, INTERRUPTED, ProgressLine, confirm, guarded, say

KIND = "evaluation"
_INVENTED = 100
_TRAIN = "train.jsonl"

_Jobs = list[tuple[Asked, Question]]


def make_parser() -> argparse.ArgumentParser:
    """The options of `balcao evaluate`."""
    parser = argparse.ArgumentParser(
        prog="balcao evaluate",
        description="Ask engines what `balcao prepare` wrote, and measure how faithful the answers"
        " are. Stopped at any moment, the same command goes on where it was.",
        epilog="Exit status: 0 done, 1 an answer failed (the same command asks it again), 2 wrong"
        " usage, 130 stopped.",
    )
    add = parser.add_argument
    add("--data", type=Path, metavar="FILE", required=True, help="rows of `balcao prepare`")
    add(
        "--engines",
        metavar="ID,ID",
        required=True,
        help="see `balcao engines`; ID:memory asks without the record, ID or ID:grounded with it."
        " The others are compared with the first",
    )
    add(
        "--out", type=Path, metavar="DIR", required=True, help="answers and report.md, .json, .html"
    )
    add("--limit", type=_positive, metavar="N", help="questions of each group (default: all)")
    add(
        "--trained",
        type=Path,
        metavar="FILE",
        help="the rows that the adapter was trained on (default: train.jsonl beside --data)",
    )
    add("--invented", type=_count, metavar="N", help="invented titles (default: N of --limit, 100)")
    add("--seed", type=int, default=0, metavar="S", help="of the sample and the invented titles")
    add("--catalogue", metavar="DIR", help="a folder that `balcao index` wrote")
    add(
        "--concurrency",
        type=_positive,
        default=8,
        metavar="N",
        help="questions at once to an OpenAI-compatible server (default: 8)",
    )
    add(
        "--price",
        type=_price,
        metavar="IN,OUT",
        help="US dollars for a million tokens sent and received, for the estimate",
    )
    add("--yes", action="store_true", help="ask remote engines without asking you first")
    add("--json", action="store_true", help="print the figures as JSON")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run; returns its exit code."""
    options = make_parser().parse_args(argv)
    return guarded(lambda: _run(options))


def _run(options: argparse.Namespace) -> int:
    check_packages()
    _check_out(options.out)
    settings = load(flags={"catalogue": options.catalogue})
    with closing(open_catalogue(settings)) as catalogue:
        asked = parse(options.engines, settings, _identity(catalogue))
        trained = _trained(options)
        questions = _questions(options, trained, catalogue)
        with AnswerFile(options.out) as answers:
            jobs = to_do(asked, questions, answers)
            if jobs and not _may_ask(jobs, asked, settings, options):
                return INTERRUPTED
            outcome = _answer(jobs, answers, settings, catalogue, options.concurrency)
            with ProgressLine(sys.stderr) as line:
                made = report.gather(
                    asked,
                    questions,
                    answers,
                    knows_trained=trained is not None,
                    on_progress=line.show,
                )
        files = render.write(made, options.out)
        write_manifest(options.out, _manifest(options, trained, made))
    _tell(made, files, outcome, as_json=options.json)
    return FAILED if outcome.failed or outcome.left else DONE


def _check_out(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file.", "Name a folder with --out.")
    if out.exists() and any(out.iterdir()) and not (out / NAME).exists():
        raise UsageError(f"{out} holds something else than an evaluation.", "Name a new folder.")


def _identity(catalogue: Retriever) -> dict[str, Any]:
    """What tells this catalogue from others: what it was made from, and by which version."""
    if not isinstance(catalogue, Catalogue):
        return {"products": len(catalogue)}
    made = read_manifest(catalogue.folder)
    return {"version": made.version, "inputs": msgspec.to_builtins(made.inputs)}


def _trained(options: argparse.Namespace) -> Path | None:
    beside: Path = options.data.with_name(_TRAIN)
    return options.trained or (beside if beside.exists() else None)


def _questions(
    options: argparse.Namespace, trained: Path | None, catalogue: Retriever
) -> list[Question]:
    with ProgressLine(sys.stderr) as line:
        line.show(Progress("reading the rows"))
        asked, titles = from_files(options.data, trained, options.limit, options.seed)
    wanted = next(
        number for number in (options.invented, options.limit, _INVENTED) if number is not None
    )
    made_up = invented(wanted, titles, catalogue.find, options.seed)
    if len(made_up) < wanted:
        say(f"Only {len(made_up)} of {wanted} invented titles: the catalogue has too many words.")
    return [*asked, *made_up]


def _may_ask(
    jobs: _Jobs, asked: Sequence[Asked], settings: Settings, options: argparse.Namespace
) -> bool:
    """Whether every engine is ready, and the cost of the remote ones is agreed to."""
    registry = Registry(settings)
    costs = []
    for one in asked:
        mine = [question for whom, question in jobs if whom.key == one.key]
        engine = registry.get(one.engine)
        state = engine.availability()
        if mine and not state.ready:
            raise EngineUnavailable(state.reason, state.remedy)
        if mine and engine.info.remote:
            costs.append((one.title, cost.estimate(one, mine, options.price)))
    for title, price in costs:
        say(_costs(title, price))
    return not costs or confirm("Go on?", yes=options.yes)


def _costs(title: str, price: cost.Cost) -> str:
    usd = "price not known, see --price" if price.usd is None else f"{price.usd:.2f} USD"
    return (
        f"{one_line(title)}: {price.calls:,} questions to another machine, some {price.sent:,}"
        f" tokens there and {price.received:,} back; {usd}. An estimate: 4 characters a token."
    )


def _answer(
    jobs: _Jobs, answers: AnswerFile, settings: Settings, catalogue: Retriever, concurrency: int
) -> Outcome:
    try:
        return asyncio.run(_answer_all(jobs, answers, settings, catalogue, concurrency))
    except KeyboardInterrupt:
        say("The answers so far are kept; the same command goes on.")
        raise


async def _answer_all(
    jobs: _Jobs, answers: AnswerFile, settings: Settings, catalogue: Retriever, concurrency: int
) -> Outcome:
    registry = Registry(settings)
    assistant = Assistant(registry, catalogue)
    with ProgressLine(sys.stderr) as line:

        async def ask(asked: Asked, question: Question) -> Answer:
            events = assistant.ask(question.question, asked.engine, asked.mode, Conversation())
            async with aclosing(events):
                async for event in events:
                    match event:
                        case Loading(progress):
                            line.show(msgspec.structs.replace(progress, fraction=None))
                        case Answered(answer):
                            return answer
                        case _:
                            pass
            raise AssertionError("an answer always ends in Answered")

        def width(asked: Asked) -> int:
            remote = isinstance(registry.settings_of(asked.engine), OpenAIEngine)
            return concurrency if remote else 1

        try:
            return await run(jobs, answers, ask, width, line.show)
        finally:
            await registry.close()


def _manifest(options: argparse.Namespace, trained: Path | None, made: Report) -> Manifest:
    inputs = [describe_file(path) for path in (options.data, trained) if path is not None]
    settings = {
        "engines": made.made_of,
        "limit": options.limit,
        "seed": options.seed,
        "resamples": RESAMPLES,
    }
    failed = sum(one.failed for one in made.figures)
    counts = {"questions": made.groups, "failed": failed, "missing": made.missing}
    return Manifest(
        kind=KIND,
        version=report.VERSION,
        inputs=inputs,
        counts=counts,
        settings=settings,
        prompt_version=PROMPT_VERSION,
    )


def _tell(made: Report, files: Sequence[Path], outcome: Outcome, *, as_json: bool) -> None:
    if outcome.failed or outcome.left:
        say(
            f"{outcome.failed} answers failed, {outcome.left} were given up:"
            f" {one_line(outcome.last_error)} The same command asks them again."
        )
    if as_json:
        print(msgspec.json.encode({"out": files, "figures": made.figures}, enc_hook=str).decode())
        return
    for table in report_words.tables(made):
        print(f"{table.heading}")
        for row in table.rows:
            cells = zip(table.head[2:], row[2:], strict=True)
            told = ", ".join(f"{name.lower()} {cell}" for name, cell in cells if cell != "–")
            print(f"  {one_line(row[0])}: {told}")
    print("\n".join(str(file) for file in files))


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def _count(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError("must not be negative")
    return number


def _price(text: str) -> tuple[float, float]:
    sent, _, received = text.partition(",")
    return float(sent), float(received)


if __name__ == "__main__":
    sys.exit(main())
