"""Flip bits in the user's files and use them: the history, the settings, the keys, an export.

python -m tools.attack.history --history 300 --files 200
python -m tools.attack.history --history 1 --seed 17     # repeat one attack

Another exception than an error with a sentence, a hang, an export that cannot be imported, and a
chat that does not go on without its history are failures.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import random
import shutil
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TypeVar

from msgspec.structs import replace

from engine.backends.registry import Registry
from engine.catalogue.index import ensure_sample
from engine.chat import export
from engine.chat.open import open_resources
from engine.chat.session import Session
from engine.config import edit, keys, paths, settings
from engine.core.errors import BalcaoError, DataError, StoreError
from engine.core.text import one_line
from engine.core.types import (
    Answer,
    Answered,
    Conversation,
    Hit,
    Mode,
    Product,
    Status,
    StopReason,
    Timing,
    Tokens,
    Turn,
)
from engine.store.conversations import ConversationStore

_T = TypeVar("_T")
_LIMIT = 60.0
"""Seconds that one attack may take on a busy machine."""
_PAGE = 4096
_TITLE = "Canvas Stool"
_PRODUCT = Product("012X", "Canvas Stool, Blue", "Folds flat — and floats.", "Folds flat")
_ANSWER = Answer(
    "What is it?",
    "lora",
    Mode.MEMORY,
    Status.EXACT,
    "Folds flat — and floats.",
    StopReason.COMPLETE,
    sources=(Hit(_PRODUCT, 0.5),),
    nearest=(Hit(_PRODUCT, 0.25),),
    fidelity=0.25,
    timing=Timing(1.0, 2.0, 3.0),
    tokens=Tokens(4, 5),
)
_SETTINGS = """\
# mine
engine = "base"
mode = 'memory'
keys.next_engine = "f12"
engines.openai = { model = "m", base_url = "https://me:secret@example.org/v1" }

[engines.base]
temperature = 0.5  # warm
system_prompt = \"\"\"Be
brief.\"\"\"

[engines.mine]
kind = "openai"
model = "m"
max_retries = 1
stall_timeout = 1e1
"""


def make_history(folder: Path) -> None:
    """Write a history of every kind of row, with and without a write-ahead log."""
    file = folder / "conversations.db"
    with closing(ConversationStore(file)) as store:
        for number in range(6):
            _converse(store, f"question {number} about the stool", 1 + number % 3)
        store.fork(1, 1)
        store.rename(2, "Another title, “quoted”")
    shutil.copytree(folder, folder / "closed", ignore=shutil.ignore_patterns("closed"))
    with closing(ConversationStore(file)) as store:
        store.delete(3)
        _converse(store, "a question in the log", 2)
        store.begin(Conversation(), "never answered", replace(_ANSWER, text="half"))
        (folder / "open").mkdir()
        for part in folder.glob("conversations.db*"):
            shutil.copy(part, folder / "open")


def _converse(store: ConversationStore, question: str, turns: int) -> None:
    conversation = Conversation()
    for number in range(turns):
        turn = Turn(f"{question}, {number}")
        first = replace(_ANSWER, question=turn.question, text=f"It floats. {'long ' * 300}")
        store.update(store.begin(conversation, turn.question, first, turn), first, finished=True)
        turn.answer = first
        if turn.id is not None and number:
            store.update(store.begin_other(turn.id, _ANSWER, chosen=True), _ANSWER, finished=True)
            turn.add(_ANSWER)
        conversation.turns.append(turn)


def damaged(data: bytes, draw: random.Random) -> bytes:
    """Flip 1 to 256 bits of `data`; now and then blank, cut, double or fill a piece."""
    wrong, size = bytearray(data), len(data)
    if size == 0:
        return data
    for _ in range(draw.choice((1, 2, 4, 16, 64, 256))):
        wrong[draw.randrange(size)] ^= 1 << draw.randrange(8)
    start = draw.randrange(size)
    piece = slice(start, start + draw.choice((1, 16, 512, _PAGE)))
    match draw.randrange(16):
        case 0:
            wrong[piece] = bytes(len(wrong[piece]))
        case 1:
            del wrong[start:]
        case 2:
            wrong[piece] = wrong[piece] * 2
        case 3:
            wrong[piece] = bytes(draw.randrange(256) for _ in wrong[piece])
    return bytes(wrong)


@contextmanager
def _home(folder: Path) -> Iterator[None]:
    before = os.environ.get("BALCAO_HOME")
    os.environ["BALCAO_HOME"] = str(folder)
    try:
        yield
    finally:
        os.environ.pop("BALCAO_HOME")
        if before is not None:
            os.environ["BALCAO_HOME"] = before


def attack_history(made: Path, catalogue: Path, seed: int) -> None:
    """Damage a copy of the history in `made` and use it. Raises what a user would see as a bug."""
    draw = random.Random(seed)  # noqa: S311 - damage, no secret
    with tempfile.TemporaryDirectory() as home, _home(Path(home)):
        shutil.copytree(made / draw.choice(("closed", "open")), paths.data_dir())
        parts = sorted(paths.data_dir().glob("*.db")) * 3 + sorted(paths.data_dir().glob("*-wal"))
        part = draw.choice(parts)
        part.write_bytes(damaged(part.read_bytes(), draw))
        shutil.copytree(paths.data_dir(), Path(home) / "again")
        _use_history(paths.data_dir())
        shutil.rmtree(paths.data_dir())
        shutil.move(Path(home) / "again", paths.data_dir())
        asyncio.run(_chat(catalogue))


def _use_history(folder: Path) -> None:
    with suppress(StoreError):
        store = ConversationStore(folder / "conversations.db")
        with closing(store):
            _change_all(store, folder / "exports")
            data = _tried(lambda: "".join(export.as_json(store, store.ids())).encode())
        if data is not None:
            with closing(ConversationStore(folder / "other.db")) as other:
                export.import_bytes(other, data, "The export")


def _change_all(store: ConversationStore, exports: Path) -> None:
    ids = _tried(store.ids) or []
    listed = [*(_tried(store.latest) or ()), *(_tried(lambda: store.search("stool")) or ())]
    _ = [(one.when.isoformat(), one_line(one.title), one.snippet) for one in listed]
    for number in ids:
        conversation = _tried(partial(store.open, number))
        if conversation:
            conversation.messages()
            _tried(partial(store.begin, conversation, "one more", _ANSWER))
        _tried(partial(export.write_conversation, store, number, {}, exports, "md"))
        _tried(partial(store.rename, number, "new"))
        _tried(partial(store.fork, number, 1))
        _tried(partial(store.delete, number))
        _tried(store.undelete)
    _tried(partial(_converse, store, "another", 2))


def _tried(use: Callable[[], _T]) -> _T | None:
    try:
        return use()
    except StoreError:
        return None


async def _chat(catalogue: Path) -> None:
    """Open the chat as the program does, go on with the last conversation, and ask."""
    chosen = settings.load(flags={"catalogue": catalogue})
    resources = open_resources(chosen)
    try:
        session = Session(chosen, resources)
        resources.last_questions()
        if last := _tried(resources.last_conversation):
            session.use(last)
        for _ in range(2):
            events = [event async for event in session.ask(_TITLE)]
            if not (isinstance(events[-1], Answered) and events[-1].answer.text):
                raise AssertionError(f"the chat does not go on: {events[-1]}")
    finally:
        await resources.close()


def make_files(folder: Path) -> None:
    """Write settings, added engines, keys and an export, as the program writes them."""
    with _home(folder):
        paths.config_dir().mkdir(parents=True)
        paths.settings_file().write_text(_SETTINGS, encoding="utf-8")
        edit.add_tuned("ft:m", "m", "https://me:secret@example.org/v1", "OPENAI_API_KEY")
        edit.add_adapter("smollm2", folder / "adapter é")
        keys.store("OPENAI_API_KEY", "sk-1234567890", in_file=True)
        keys.store("OTHER_KEY", "sk-0987654321", in_file=True)
        with closing(ConversationStore(paths.conversations_file())) as store:
            _converse(store, "question", 2)
            _converse(store, "pergunta", 1)
            export.write_file(folder / "export.json", export.as_json(store, store.ids()))


def attack_files(made: Path, seed: int) -> None:
    """Damage each of the files in `made` and use it. Raises what a user would see as a bug."""
    draw = random.Random(seed)  # noqa: S311 - damage, no secret
    with tempfile.TemporaryDirectory() as home, _home(Path(home)):
        shutil.copytree(made, home, dirs_exist_ok=True)
        export_file = Path(home) / "export.json"
        uses: dict[Path, Sequence[Callable[[], None]]] = {
            paths.settings_file(): (_read_settings, _change_settings),
            paths.engines_file(): (_read_settings, _change_settings),
            paths.keys_file(): (_read_settings, _use_keys),
            export_file: (partial(_import, export_file),),
        }
        for file, each in uses.items():
            sound = file.read_bytes()
            file.write_bytes(damaged(sound, draw))
            for use in each:
                with suppress(DataError if file == export_file else BalcaoError):
                    use()
            file.write_bytes(sound)


def _read_settings() -> None:
    registry = Registry(settings.load())
    for engine_id in registry.ids:
        registry.get(engine_id).availability()


def _change_settings() -> None:
    edit.save({"engine": "lora"})
    edit.save_engine("base", {"temperature": 0.25, "system_prompt": None})
    edit.add_tuned("ft:other", "m", None, "OPENAI_API_KEY")
    if settings.load().engine != "lora":
        raise AssertionError("the change is lost")


def _use_keys() -> None:
    for name in keys.stored():
        keys.value(name)
    keys.store("OTHER_KEY", "sk-new", in_file=True)
    keys.remove("OPENAI_API_KEY")


def _import(file: Path) -> None:
    with closing(ConversationStore(file.with_name("other.db"))) as store:
        added = export.import_file(store, str(file))
        if len(store.ids()) != added.new:
            raise AssertionError("the import is not complete")
        data = "".join(export.as_json(store, store.ids())).encode()
        if export.import_bytes(store, data, "The export").new:
            raise AssertionError("what was imported is not what is exported")


def _trouble(attack: Callable[[], None]) -> str:
    """Run an attack in a process of its own; return how it failed."""
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=_report, args=(attack, there))
    process.start()
    there.close()
    answered = here.poll(_LIMIT)
    try:
        return str(here.recv()) if answered else f"hangs for {_LIMIT:.0f} s"
    except EOFError:
        return "the process ended without a word"
    finally:
        process.kill()
        process.join()


def _report(attack: Callable[[], None], there: Connection) -> None:
    try:
        attack()
        there.send("")
    except BaseException:  # noqa: BLE001 - anything is a finding
        there.send(traceback.format_exc())


def main(argv: Sequence[str] | None = None) -> int:
    """Run the attacks and return 1 if one of them succeeds."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--history", type=int, default=300, help="attacks on the history")
    parser.add_argument("--files", type=int, default=200, help="attacks on each other file")
    parser.add_argument("--seed", type=int, default=0, help="of the first attack")
    options = parser.parse_args(argv)
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        history, files = Path(folder) / "history", Path(folder) / "files"
        make_history(history)
        make_files(files)
        with _home(Path(folder) / "sample"):
            on_history = partial(attack_history, history, ensure_sample())
        plan = [(on_history, "1 --files 0", number) for number in range(options.history)]
        plan += [
            (partial(attack_files, files), "0 --files 1", number) for number in range(options.files)
        ]
        for attack, counts, number in plan:
            seed = options.seed + number
            if trouble := _trouble(partial(attack, seed)):
                failed += 1
                print(f"--history {counts} --seed {seed}: {trouble}", flush=True)
    print(f"{options.history} of the history, {options.files} of each file: {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
