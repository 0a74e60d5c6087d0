"""Measure how faithful the answers of engines are to the catalogue.

balcao evaluate --data rows --engines catalogue,lora:memory --out report
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
from msgspec.structs import replace

from engine.backends.registry import Registry
from engine.catalogue.catalogue import Catalogue, Retriever
from engine.chat.answer import PendingAnswer
from engine.chat.open import open_catalogue
from engine.config.settings import Settings, load, own_catalogue
from engine.core.errors import EngineUnavailable, UsageError
from engine.core.files import (
    Manifest,
    describe_file,
    encode_json,
    read_manifest,
    write_atomic,
    write_manifest,
)
from engine.core.text import one_line
from engine.core.types import Answer, Answered, Loading, Progress
from engine.evaluation import render, report, summary
from engine.evaluation.ask import ANSWERS_FILE, AnswerFile, SavedAnswer, Target, parse_targets
from engine.evaluation.comparison import COMPARISON, Comparison, compare_answers, read_answers
from engine.evaluation.metrics import check_packages
from engine.evaluation.questions import (
    Question,
    exam_questions,
    invent_questions,
    sample_questions,
)
from engine.evaluation.report import Report
from engine.evaluation.run import EvaluationResult, estimate_cost, pending, run
from engine.evaluation.statistics import RESAMPLES
from engine.prompts import PROMPT_VERSION
from scripts.common import (
    DONE,
    FAILED,
    INTERRUPTED,
    ProgressLine,
    at_least,
    command,
    confirm,
    fold_lines,
    say,
    say_folded,
    say_notice,
    whole,
)

_KIND = "evaluation"
_INVENTED = 100
_TITLES = 50
"""Titles that are looked up to recognise the catalogue."""
_SHOWN_ROWS, _TITLE_WIDTH = 5, 56
_TRAINED = "train.jsonl"

_Jobs = list[tuple[Target, Question]]


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="balcao evaluate",
        description="Ask engines the questions that `balcao prepare` wrote and measure how faithful"
        " the answers are. After an interruption, the same command continues.",
        epilog="Exit status: 0 success, 1 an answer failed (the same command asks again), 2 wrong"
        " usage, 130 interrupted.",
    )
    add = parser.add_argument
    add(
        "--data",
        type=Path,
        metavar="DIR",
        required=True,
        help="folder from `balcao prepare`, or one of its files (of a folder: test.jsonl)",
    )
    add(
        "--engines",
        metavar="ID,ID",
        required=True,
        help="see `balcao engines`; ID:memory asks without the record, ID or ID:grounded with it."
        " The report compares the others with the first",
    )
    add("--out", type=Path, metavar="DIR", required=True, help="folder for answers and reports")
    add("--limit", type=at_least(1), metavar="N", help="questions from each group (default: all)")
    add(
        "--trained",
        type=Path,
        metavar="FILE",
        help="training rows of the adapter (default: train.jsonl in the folder of --data)",
    )
    invented = "invented titles (default: --limit, or 100)"
    add("--invented", type=at_least(0), metavar="N", help=invented)
    add("--seed", type=whole, default=0, metavar="S", help="of the sample and the invented titles")
    add("--catalogue", metavar="DIR", help="a folder from `balcao index`, of the same products")
    add("--against", type=Path, metavar="OLD", help="compare with an older --out, row by row")
    add(
        "--concurrency",
        type=at_least(1),
        default=8,
        metavar="N",
        help="questions at once to each OpenAI-compatible server (default: 8)",
    )
    add("--price", type=_price, metavar="IN,OUT", help="USD per million tokens sent and received")
    add("--yes", action="store_true", help="do not ask before using remote engines")
    add("--json", action="store_true", help="print the figures as JSON")
    return parser


@command(make_parser)
def main(options: argparse.Namespace) -> int:
    check_packages()
    _check_out(options.out)
    options.data = rows_file(options.data)
    older = read_answers(options.against) if options.against else None
    settings = load(flags={"catalogue": options.catalogue})
    if options.catalogue is None:
        settings = replace(settings, catalogue=_own_catalogue(options, settings))
    say_notice(settings)
    with closing(open_catalogue(settings)) as catalogue:
        return _evaluate(options, Registry(settings), catalogue, older)


def _evaluate(
    options: argparse.Namespace,
    registry: Registry,
    catalogue: Retriever,
    older: dict[tuple[str, str], SavedAnswer] | None,
) -> int:
    targets = parse_targets(options.engines, registry, identify(catalogue))
    default = options.data.with_name(_TRAINED)
    trained = options.trained or (default if default.exists() else None)
    questions = _questions(options, trained, catalogue)
    compared: list[Comparison] = []
    with closing(AnswerFile(options.out)) as answers:
        jobs = pending(targets, questions, answers)
        if jobs and not _may_ask(jobs, targets, registry, options):
            return INTERRUPTED
        try:
            asked = _answer_all(jobs, answers, registry, catalogue, options.concurrency)
            result = asyncio.run(asked)
        except KeyboardInterrupt:
            say("The answers so far are saved. To continue, run the same command.")
            raise
        with ProgressLine(sys.stderr) as line:
            knows = trained is not None
            made = report.gather(
                targets, questions, answers, knows_trained=knows, on_progress=line.show
            )
        if older is not None:
            compared = compare_answers(targets, questions, answers, older)
    files = render.write(made, options.out)
    if compared:
        write_atomic(options.out / COMPARISON, encode_json(compared, indent=2))
    write_manifest(options.out, _manifest(options, trained, made))
    _print_result(made, files, result, compared, as_json=options.json)
    return FAILED if result.failed or result.skipped else DONE


def _own_catalogue(options: argparse.Namespace, settings: Settings) -> str | None:
    """Return the catalogue that one of the engines brings, or that of the settings."""
    ids = (name.strip().rpartition(":")[0] or name.strip() for name in options.engines.split(","))
    own = filter(None, (own_catalogue(settings.engines.get(one)) for one in ids))
    return next(own, settings.catalogue)


def rows_file(data: Path) -> Path:
    """Return the file of questions: of a folder, the first of test, valid and train with rows."""
    if not data.is_dir():
        return data
    files = [data / f"{split}.jsonl" for split in ("test", "valid", "train")]
    found = next((file for file in files if file.is_file() and file.stat().st_size), None)
    if found is None:
        raise UsageError(
            f"{data} has no rows.", "Pass a folder that `balcao prepare` wrote with --data."
        )
    return found


def _check_catalogue(
    questions: Sequence[Question], catalogue: Retriever, options: argparse.Namespace
) -> None:
    """Raise UsageError if the catalogue holds none of the titles: it is another one."""
    titles = {question.title for question in questions[:: max(1, len(questions) // _TITLES)]}
    if not titles or any(_holds(catalogue, title) for title in titles):
        return
    name = options.catalogue or "The catalogue"
    raise UsageError(
        f"{name} holds none of the titles in {options.data}.",
        "Pass the catalogue of the same products: --catalogue DIR (see `balcao index`).",
    )


def _holds(catalogue: Retriever, title: str) -> bool:
    wanted = title.casefold().split()
    return any(hit.product.title.casefold().split() == wanted for hit in catalogue.find(title).hits)


def _check_out(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file.", "Name a folder with --out.")
    if out.exists() and any(out.iterdir()) and not (out / ANSWERS_FILE).exists():
        raise UsageError(
            f"{out} contains something other than an evaluation.", "Choose a new folder with --out."
        )


def identify(catalogue: Retriever) -> dict[str, Any]:
    """Return what tells a catalogue from others."""
    if not isinstance(catalogue, Catalogue):
        return {"products": len(catalogue)}
    manifest = read_manifest(catalogue.folder)
    return {"version": manifest.version, "inputs": msgspec.to_builtins(manifest.inputs)}


def _questions(
    options: argparse.Namespace, trained: Path | None, catalogue: Retriever
) -> list[Question]:
    with ProgressLine(sys.stderr) as line:
        line.show(Progress("reading the rows"))
        questions, titles = sample_questions(options.data, trained, options.limit, options.seed)
    _check_catalogue(questions, catalogue, options)
    choices = (options.invented, options.limit, _INVENTED)
    wanted = next(number for number in choices if number is not None)
    invented = invent_questions(wanted, titles, catalogue.find, options.seed)
    if len(invented) < wanted:
        say(f"Only {len(invented)} of {wanted} invented titles: the catalogue has too many words.")
    exam = exam_questions(trained, wanted, options.seed) if trained else []
    return [*questions, *exam, *invented]


def _may_ask(
    jobs: _Jobs, targets: Sequence[Target], registry: Registry, options: argparse.Namespace
) -> bool:
    """Check that every engine is ready, and confirm the cost of the remote ones."""
    costs = []
    for target in targets:
        questions = [question for one, question in jobs if one.key == target.key]
        engine = registry.get(target.engine)
        state = engine.availability()
        if questions and not state.ready:
            raise EngineUnavailable(state.reason, state.remedy)
        if questions and engine.info.remote:
            cost = estimate_cost(target, questions, options.price)
            usd = "price unknown, see --price" if cost.usd is None else f"{cost.usd:.2f} USD"
            costs.append(
                f"{one_line(target.title)}: {cost.requests:,} questions to a remote server, about"
                f" {cost.sent:,} tokens sent and {cost.received:,} received; {usd}. Estimated with"
                " 4 characters per token."
            )
    for sentence in costs:
        say_folded(sentence)
    return not costs or confirm("Continue?", yes=options.yes)


async def _answer_all(
    jobs: _Jobs, answers: AnswerFile, registry: Registry, catalogue: Retriever, concurrency: int
) -> EvaluationResult:
    with ProgressLine(sys.stderr) as line:

        async def ask(target: Target, question: Question) -> Answer:
            asked = question.question
            reply = PendingAnswer(registry, catalogue, asked, target.engine, target.mode)
            async with aclosing(reply.events()) as events:
                async for event in events:
                    match event:
                        case Loading(progress):
                            line.show(msgspec.structs.replace(progress, fraction=None))
                        case Answered(answer):
                            return answer
                        case _:
                            pass
            raise AssertionError("an answer always ends in Answered")

        try:
            return await run(jobs, answers, ask, concurrency, line.show)
        finally:
            await registry.close()


def _manifest(options: argparse.Namespace, trained: Path | None, made: Report) -> Manifest:
    failed = sum(figures.failed for figures in made.figures)
    return Manifest(
        kind=_KIND,
        version=report.VERSION,
        inputs=[describe_file(path) for path in (options.data, trained) if path is not None],
        counts={"questions": made.groups, "failed": failed, "missing": made.missing},
        settings={
            "engines": made.provenance,
            "limit": options.limit,
            "seed": options.seed,
            "resamples": RESAMPLES,
        },
        prompt_version=PROMPT_VERSION,
    )


def _print_result(
    made: Report,
    files: Sequence[Path],
    result: EvaluationResult,
    compared: Sequence[Comparison],
    *,
    as_json: bool,
) -> None:
    if result.failed or result.skipped:
        say_folded(
            f"{result.failed} answers failed, {result.skipped} questions were skipped:"
            f" {one_line(result.last_error)} To ask them again, run the same command."
        )
    if as_json:
        found = {"out": files, "figures": made.figures}
        print(encode_json(found | ({"against": compared} if compared else {})).decode(), end="")
        return
    print(fold_lines(summary.verdict(made)), *summary.table(made), sep="\n")
    for line in (*summary.exam_lines(made), *summary.risk_lines(made)):
        print(fold_lines(line))
    for comparison in compared:
        _print_comparison(comparison)
    print("\n".join(str(file) for file in files))


def _print_comparison(found: Comparison) -> None:
    than = f"{one_line(found.older)} of " if found.older != found.target else ""
    counts = f"{len(found.better):,} better, {len(found.worse):,} worse, {found.same:,} the same"
    print(fold_lines(f"{one_line(found.target)} against {than}the older evaluation: {counts}"))
    for word, rows in (("worse", found.worse), ("better", found.better)):
        for row in rows[:_SHOWN_ROWS]:
            title = one_line(row.title, _TITLE_WIDTH)
            print(f"  {word:6}  {row.before:.2f} → {row.after:.2f}  {title}")
        if len(rows) > _SHOWN_ROWS:
            print(f"  {word:6}  {len(rows) - _SHOWN_ROWS:,} more in {COMPARISON}")


def _price(text: str) -> tuple[float, float]:
    try:
        sent, received = map(float, text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError("must be two numbers, such as 0.15,0.60") from None
    return sent, received


if __name__ == "__main__":
    sys.exit(main())
