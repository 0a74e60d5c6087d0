"""Import trl once, which takes 20 seconds, and run each `balcao train` as a fork.

Reads one JSON list per run from stdin: the log file, the number of processes, then the arguments.
Answers with the first process's id, and with its exit status once all have ended (negative: the
signal). The first argument can choose another job: `tokens` prints the prompts' tokens in the chat
and in training, `loss` the plain base's loss, `precision` what processors choose, `merge` and `job`
run those commands. Or it prepares the run:
`terminal NAME` runs at that terminal, and stays after --detach as a shell does; `addresses N` adds
at most N megabytes; `launched` sets what `accelerate launch` sets for FSDP, and `sharded`
also shards on a CPU.
"""

from __future__ import annotations

import json
import math
import os
import resource
import signal
import socket
import sys
import time
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import psutil
import torch
from msgspec import structs
from transformers import LlamaForCausalLM

import engine.training.callbacks
import engine.training.merge
import engine.training.trainer  # noqa: F401 - for the runs, which import them at once
import scripts.job
import scripts.merge
from engine.backends.llama.messages import Open
from engine.backends.llama.transformers import TransformersRuntime
from engine.core.types import Mode, Product
from engine.prompts import QUESTION_FORMS, chat_messages
from engine.training.data import find_base, read_data
from engine.training.encode import Encoder
from engine.training.openai.plan import RowMessage, TrainingRow
from engine.training.processes import Processes
from engine.training.recipe import read_recipe
from scripts.train import main
from tests.engine.backends.llama.tiny import ROOT
from tests.engine.training.sharding import launched_with_fsdp, print_shares, shard_on_a_cpu

PAST = (
    RowMessage("user", "What is it?"),
    RowMessage("assistant", "A stool."),
    RowMessage("user", "What does it hold?"),
    RowMessage("assistant", "110 kg — or so."),
)

_PATIENCE = 1.0
"""Seconds for the others to report that the first one ended."""


def tokens_of(folder: str) -> None:
    """Print the prompts' tokens in the chat and in training."""
    chat = TransformersRuntime(Open(folder, "none", 0))
    encoder = Encoder(Path(folder))
    record = Product("1", "Café “A” 2", "Two lines.\n\nDescription:\n“{odd}” 🐱")
    prompts = [chat_messages(form.format(title=record.title), product, Mode.GROUNDED)
               for form in QUESTION_FORMS for product in (None, record)]  # fmt: skip
    learned = encoder.encode([TrainingRow(PAST)], 10_000).answers
    found = {
        "chat": [chat._encode(prompt) for prompt in prompts],
        "training": [encoder.prompt_tokens(prompt) for prompt in prompts],
        "bos": encoder.tokenizer.token_id("bos_token"),
        "ends": sorted(chat._stop_ids),
        "answers": [one.completion for one in learned],
        "texts": [encoder.decode(one.completion) for one in learned],
    }
    print(json.dumps(found))  # noqa: T201 - what the run is for


def print_loss(folder: str, data: str) -> None:
    """Print the plain base's mean loss on the answers of the training rows and their ends."""
    encoder = Encoder(Path(folder))
    model = LlamaForCausalLM.from_pretrained(folder)
    losses: list[float] = []
    for one in encoder.encode(read_data(Path(data)).train, 10_000).answers:
        tokens = torch.tensor([one.prompt + one.completion])
        with torch.inference_mode():
            likely = model(tokens).logits[0].log_softmax(-1)
        for place, token in enumerate(one.completion, len(one.prompt)):
            losses.append(-float(likely[place - 1, token]))
    print(sum(losses) / len(losses))  # noqa: T201 - what the run is for


def print_precisions(folder: str, weights: str) -> None:
    """Print what processors choose for a base with these weights, a tiny one, and one in NF4."""
    from engine.training.trainer import Numerics

    tiny = find_base(folder)
    large = replace(tiny, weights=(Path(weights),))
    recipe = read_recipe(ROOT / "scripts" / "recipes" / "smollm2.toml", [])
    for name in ("avx512_bf16", "amx_bf16", "avx2"):
        with patch.object(torch.cpu, "get_capabilities", return_value={name: True}):
            plain, small, nf4 = (
                Numerics.choose(one, base, Processes())
                for one, base in (
                    (recipe, large),
                    (recipe, tiny),
                    (structs.replace(recipe, quantization="nf4"), large),
                )
            )
        print(f"{name}: {plain}, tiny {small}, nf4 {nf4}")  # noqa: T201 - what the run is for


def take_terminal(name: str) -> None:
    """Make the terminal this process's own: closing it sends SIGHUP."""
    os.setsid()
    terminal = os.open(name, os.O_RDWR)
    for handle in range(3):
        os.dup2(terminal, handle)
    sys.stdin = os.fdopen(0)
    sys.stdout = os.fdopen(1, "w", buffering=1)
    sys.stderr = os.fdopen(2, "w", buffering=1)


def serve() -> None:
    """Run the requests of stdin, one after another."""
    torch.set_num_threads(1)
    for line in sys.stdin:
        log, count, *arguments = json.loads(line)
        sys.stdout.flush()
        meet = environment(count)
        children = [fork(log, meet | {"RANK": str(index), "LOCAL_RANK": str(index)}, arguments)
                    for index in range(count)]  # fmt: skip
        print(children[0], flush=True)  # noqa: T201 - the answer
        print(end(children), flush=True)  # noqa: T201 - the answer


def run(arguments: list[str]) -> int:
    """Run the job that the first argument chooses, by default `balcao train`."""
    match prepared(arguments):
        case ["tokens", folder]:
            tokens_of(folder)
        case ["loss", folder, data]:
            print_loss(folder, data)
        case ["precision", folder, weights]:
            print_precisions(folder, weights)
        case ["job", *others]:
            return scripts.job.main(others)
        case ["merge", *others]:
            return scripts.merge.main(others)
        case ["terminal", name, *others]:
            take_terminal(name)
            status = main(others)
            if "--detach" in others:
                signal.pause()
            return status
        case others:
            return main(others)
    return 0


def prepared(arguments: list[str]) -> list[str]:
    """Prepare a run and return its own arguments."""
    match arguments:
        case ["addresses", megabytes, *others]:
            limit = psutil.Process().memory_info().vms + int(megabytes) * 10**6
            resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
            return others
        case ["launched", *others]:
            launched_with_fsdp()
            return others
        case ["sharded", *others]:
            launched_with_fsdp()
            shard_on_a_cpu()
            print_shares()
            return others
        case _:
            return arguments


def end(children: list[int]) -> int:
    """Wait for the first process; if it fails, kill the others, as launchers do."""
    status = os.waitstatus_to_exitcode(os.waitpid(children[0], 0)[1])
    until = time.monotonic() + _PATIENCE if status else math.inf
    for child in children[1:]:
        while not os.waitpid(child, os.WNOHANG)[0]:
            time.sleep(0.02)
            if time.monotonic() > until:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                break
    return status


def environment(count: int) -> dict[str, str]:
    """Where the processes of a run meet, in the variables of torch's launcher."""
    if count == 1:
        return {}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    return {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}


def fork(log: str, environ: dict[str, str], arguments: list[str]) -> int:
    """Run in a new process and return its id."""
    child = os.fork()
    if child:
        return child
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    if "WORLD_SIZE" in environ:
        os.environ |= environ
    status = 1
    try:
        status = run(arguments)
    except SystemExit as left:
        status = int(left.code or 0)
    except BaseException:  # noqa: BLE001 - a child must not go on as its parent
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        os._exit(status)


if __name__ == "__main__":
    serve()
