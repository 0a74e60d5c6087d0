"""`balcao train` against a bare TRL script with the same values: tokens a second, and memory.

    OMP_NUM_THREADS=1 python -m benchmarks.train [--pairs N] [--steps N]

Both train an adapter on the same random Llama and the same rows, in a fresh process each time, by
turns. Tokens a second are those that trl counts, over the time of `SFTTrainer.train`; processor
time is of the same span and tells more where others use the machine. Memory is the process's
largest resident set, until training has ended. The best of all pairs counts for each. What
`balcao train` estimates before the start stands beside what it then took.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from engine.prompts import LLAMA2_TEMPLATE, training_messages

ROOT = Path(__file__).resolve().parent.parent
LEAST_SPEED, MOST_MEMORY = 0.97, 1.05
ROWS, BATCH = 48, 4
RATE = 1e-3
RANK, ALPHA = 64, 128
_FORM = "What is the description of “{title}”?"


@dataclass(frozen=True, slots=True)
class Run:
    """One training: tokens, seconds, seconds of processor time, bytes."""

    tokens: float
    wall: float
    cpu: float
    peak: int


def main() -> int:
    """Measure and print; 1 if a limit is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--steps", type=int, default=36)
    parser.add_argument("--child", choices=("balcao", "bare"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    epochs = options.steps * BATCH // ROWS
    if options.child:
        timed(options.folder / f"{options.child}.json")
        (balcao if options.child == "balcao" else bare)(options.folder, epochs)
        return 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_base(folder / "base")
        write_rows(folder / "rows")
        measured: dict[str, list[Run]] = {"bare": [], "balcao": []}
        for _ in range(options.pairs):
            for who, runs in measured.items():
                runs.append(child(who, folder, options.steps))
                print(f"{who:7} {told(runs[-1])}", flush=True)
    return report(measured)


def report(measured: dict[str, list[Run]]) -> int:
    """Print the ratios; 1 if a limit is missed."""
    speed = {who: max(run.tokens / run.wall for run in runs) for who, runs in measured.items()}
    work = {who: max(run.tokens / run.cpu for run in runs) for who, runs in measured.items()}
    peak = {who: min(run.peak for run in runs) for who, runs in measured.items()}
    ratios = [one["balcao"] / one["bare"] for one in (speed, work, peak)]
    print(f"tokens/s                    {ratios[0]:.3f} of bare TRL (at least {LEAST_SPEED})")
    print(f"tokens/s of processor time  {ratios[1]:.3f} of bare TRL")
    print(f"peak memory                 {ratios[2]:.3f} of bare TRL (at most {MOST_MEMORY})")
    return int(ratios[0] < LEAST_SPEED or ratios[2] > MOST_MEMORY)


def told(run: Run) -> str:
    """A run in a line."""
    return (
        f"{run.tokens / run.wall:7.1f} tokens/s, {run.tokens / run.cpu:7.1f} of processor time,"
        f" {run.tokens:,.0f} tokens in {run.wall:.0f} s, {run.peak / 1e6:,.0f} MB"
    )


def child(who: str, folder: Path, steps: int) -> Run:
    """Train in a fresh process."""
    command = [sys.executable, "-m", "benchmarks.train", "--child", who, "--folder", str(folder),
               "--steps", str(steps)]  # fmt: skip
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{who} failed: {done.stderr[-2000:]}")
    for line in done.stderr.splitlines():
        if line.startswith(("memory  ", "time  ")):
            print(f"  said before: {line}")
    return Run(**json.loads((folder / f"{who}.json").read_text(encoding="utf-8")))


def timed(file: Path) -> None:
    """Let `SFTTrainer.train` write what it took."""
    from trl import SFTTrainer

    train: Callable[..., Any] = SFTTrainer.train

    def measured(self: Any, *args: Any, **named: Any) -> Any:  # noqa: ANN401 - trl's own
        wall, cpu = time.perf_counter(), time.process_time()
        found = train(self, *args, **named)
        last = [entry for entry in self.state.log_history if "num_tokens" in entry][-1]
        run = Run(
            last["num_tokens"],
            time.perf_counter() - wall,
            time.process_time() - cpu,
            resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        )
        file.write_text(json.dumps(asdict(run)), encoding="utf-8")
        return found

    SFTTrainer.train = measured


def balcao(folder: Path, epochs: int) -> None:
    """Train as the command does."""
    from scripts.train_lora import main as train

    with tempfile.TemporaryDirectory() as out:
        arguments = ["--data", str(folder / "rows"), "--base", str(folder / "base"),
                     "--out", f"{out}/lora", "--recipe", "exact"]  # fmt: skip
        values = [f"epochs={epochs}", f"batch_size={BATCH}", f"learning_rate={RATE}",
                  f"rank={RANK}", f"alpha={ALPHA}", "score_rows=0"]  # fmt: skip
        if train([*arguments, *(word for value in values for word in ("--set", value))]):
            raise SystemExit(1)


def bare(folder: Path, epochs: int) -> None:
    """Train as TRL's own examples do."""
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoTokenizer, LlamaForCausalLM
    from trl import SFTConfig, SFTTrainer

    lines = (folder / "rows" / "train.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line)["messages"] for line in lines]
    tokenizer = AutoTokenizer.from_pretrained(folder / "base")
    tokenizer.chat_template = LLAMA2_TEMPLATE
    with tempfile.TemporaryDirectory() as out:
        SFTTrainer(
            model=LlamaForCausalLM.from_pretrained(folder / "base"),
            args=SFTConfig(
                output_dir=out,
                num_train_epochs=epochs,
                per_device_train_batch_size=BATCH,
                learning_rate=RATE,
                lr_scheduler_type="cosine",
                warmup_steps=0.03,
                weight_decay=0.0,
                max_grad_norm=1.0,
                optim="adamw_torch",
                max_length=None,
                gradient_checkpointing=False,
                bf16=False,
                use_cpu=True,
                dataloader_pin_memory=False,
                logging_steps=1,
                save_strategy="epoch",
                save_total_limit=2,
                report_to="none",
                seed=0,
            ),
            train_dataset=Dataset.from_list(
                [{"prompt": row[:-1], "completion": row[-1:]} for row in rows]
            ),
            processing_class=tokenizer,
            peft_config=LoraConfig(
                r=RANK, lora_alpha=ALPHA, lora_dropout=0.0, target_modules="all-linear",
                task_type="CAUSAL_LM",
            ),
        ).train()  # fmt: skip


def write_rows(folder: Path) -> None:
    """Rows of the sample catalogue, as `balcao prepare` writes them."""
    folder.mkdir()
    lines = (ROOT / "data" / "sample_catalogue.jsonl").read_text(encoding="utf-8").splitlines()
    products = [one for one in map(json.loads, lines) if len(one["content"]) > 200][:ROWS]
    with (folder / "train.jsonl").open("w", encoding="utf-8") as stream:
        for one in products:
            messages = [
                {"role": message.role.value, "content": message.content}
                for message in training_messages(one["title"], one["content"], _FORM)
            ]
            stream.write(json.dumps({"messages": messages}, ensure_ascii=False) + "\n")


def make_base(folder: Path) -> None:
    """A random Llama of 7 million weights, with a tokenizer of the sample catalogue's words."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, LlamaTokenizer

    torch.manual_seed(0)
    learned = Tokenizer(models.BPE(byte_fallback=True))
    learned.pre_tokenizer = pre_tokenizers.Metaspace()
    special = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    learned.train(
        [str(ROOT / "data" / "sample_catalogue.jsonl")],
        trainers.BpeTrainer(vocab_size=4000, special_tokens=special, show_progress=False),
    )
    model = json.loads(learned.to_str())["model"]
    LlamaTokenizer(
        vocab=model["vocab"], merges=[tuple(pair) for pair in model["merges"]]
    ).save_pretrained(folder)
    LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(model["vocab"]),
            hidden_size=256,
            intermediate_size=704,
            num_hidden_layers=6,
            num_attention_heads=4,
            max_position_embeddings=1024,
            bos_token_id=1,
            eos_token_id=2,
        )
    ).save_pretrained(folder)


if __name__ == "__main__":
    sys.exit(main())
