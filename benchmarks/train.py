"""Compare speed and memory of `balcao train` with a plain TRL script of the same values.

    OMP_NUM_THREADS=1 python -m benchmarks.train [--pairs N] [--steps N]
    python -m benchmarks.train --base models/random-7b/model --recipe seed    on a GPU

Both train an adapter on the same random Llama and the same rows, in turn, each time in a new
process. Tokens per second are those that trl counts, without the first quarter of the steps, which
initialises much. CPU time covers the same steps and is the better measure on a busy machine. Memory
is the largest resident set until the end of training; on a GPU, the GPU memory reserved. The best
of all pairs counts. The estimate of `balcao train` is printed with the result.
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
from engine.training.recipe import Recipe, read_recipe

ROOT = Path(__file__).resolve().parent.parent
RECIPES = ROOT / "scripts" / "recipes"
LEAST_SPEED, MOST_MEMORY = 0.97, 1.05
ROWS, BATCH = 48, 4
CHANGES = {"exact": ("learning_rate=1e-3",)}
"""Changes to a recipe's values."""
_FORM = "What is the description of “{title}”?"


@dataclass(frozen=True, slots=True)
class TrainingCost:
    """The cost of a training: tokens, seconds, CPU seconds, bytes."""

    tokens: float
    wall: float
    cpu: float
    peak: int


def main() -> int:
    """Measure and print the results; return 1 if a limit is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--steps", type=int, default=36)
    parser.add_argument("--base", type=Path, help="a Llama (default: a random one of 7 M weights)")
    parser.add_argument("--recipe", default="exact", help="one of scripts/recipes")
    parser.add_argument(
        "--precision", choices=("fp32", "bf16"), help="of both (default: bf16 on a GPU)"
    )
    parser.add_argument("--child", choices=("balcao", "bare"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not options.precision:
        import torch

        options.precision = "bf16" if torch.cuda.is_available() else "fp32"
    if options.child:
        timed(options.folder / f"{options.child}.json")
        values = [*CHANGES.get(options.recipe, ()), f"epochs={options.steps * BATCH // ROWS}",
                  f"batch_size={BATCH}", "score_rows=0", "sample_rows=0",
                  f"precision={options.precision}"]  # fmt: skip
        train = balcao if options.child == "balcao" else bare
        train(options.folder / "rows", options.base, options.recipe, values)
        return 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if not options.base:
            options.base = folder / "base"
            make_base(options.base)
        write_rows(folder / "rows")
        measured: dict[str, list[TrainingCost]] = {"bare": [], "balcao": []}
        for _ in range(options.pairs):
            for who, runs in measured.items():
                runs.append(child(who, folder, options))
                print(f"{who:7} {describe(runs[-1])}", flush=True)
    return report(measured)


def report(measured: dict[str, list[TrainingCost]]) -> int:
    """Print the ratios; return 1 if a limit is missed."""
    speed = {who: max(run.tokens / run.wall for run in runs) for who, runs in measured.items()}
    work = {who: max(run.tokens / run.cpu for run in runs) for who, runs in measured.items()}
    peak = {who: min(run.peak for run in runs) for who, runs in measured.items()}
    ratios = [one["balcao"] / one["bare"] for one in (speed, work, peak)]
    print(f"tokens/s                    {ratios[0]:.3f} of bare TRL (at least {LEAST_SPEED})")
    print(f"tokens/s of CPU time        {ratios[1]:.3f} of bare TRL")
    print(f"peak memory                 {ratios[2]:.3f} of bare TRL (at most {MOST_MEMORY})")
    return int(ratios[0] < LEAST_SPEED or ratios[2] > MOST_MEMORY)


def describe(run: TrainingCost) -> str:
    """Format a training in a line."""
    return (
        f"{run.tokens / run.wall:7.1f} tokens/s, {run.tokens / run.cpu:7.1f} of CPU time,"
        f" {run.tokens:,.0f} tokens in {run.wall:.0f} s, {run.peak / 1e6:,.0f} MB"
    )


def child(who: str, folder: Path, options: argparse.Namespace) -> TrainingCost:
    """Train in a new process."""
    command = [sys.executable, "-m", "benchmarks.train", "--child", who, "--folder", str(folder),
               "--steps", str(options.steps), "--base", str(options.base),
               "--recipe", options.recipe, "--precision", options.precision]  # fmt: skip
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"HF_HUB_OFFLINE": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{who} failed: {done.stderr[-2000:]}")
    for line in done.stderr.splitlines():
        if line.startswith(("memory  ", "time  ")):
            print(f"  estimate: {line}")
    return TrainingCost(**json.loads((folder / f"{who}.json").read_text(encoding="utf-8")))


def timed(file: Path) -> None:
    """Patch `SFTTrainer.train` to write its cost."""
    import torch
    from transformers import TrainerCallback
    from trl import SFTTrainer

    train: Callable[..., Any] = SFTTrainer.train

    class Clock(TrainerCallback):  # type: ignore[misc] # untyped library
        """Record the time and the tokens at the end of the first quarter."""

        def __init__(self) -> None:
            self.wall = self.cpu = self.tokens = 0.0

        def on_log(self, _args: Any, state: Any, *_: Any, **kept: Any) -> None:  # noqa: ANN401 - untyped
            """Record them after each step of the first quarter."""
            if state.global_step <= state.max_steps // 4 and "num_tokens" in kept["logs"]:
                self.wall, self.cpu = time.perf_counter(), time.process_time()
                self.tokens = kept["logs"]["num_tokens"]

    def measured(self: Any, *args: Any, **named: Any) -> Any:  # noqa: ANN401 - as in trl
        clock = Clock()
        self.add_callback(clock)
        found = train(self, *args, **named)
        last = [entry for entry in self.state.log_history if "num_tokens" in entry][-1]
        run = TrainingCost(
            last["num_tokens"] - clock.tokens,
            time.perf_counter() - clock.wall,
            time.process_time() - clock.cpu,
            torch.cuda.max_memory_reserved()
            if torch.cuda.is_available()
            else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        )
        file.write_text(json.dumps(asdict(run)), encoding="utf-8")
        return found

    SFTTrainer.train = measured


def balcao(rows: Path, base: Path, recipe: str, values: list[str]) -> None:
    """Train with `balcao train`."""
    from scripts.train import main as train

    with tempfile.TemporaryDirectory() as out:
        arguments = ["--data", str(rows), "--base", str(base), "--out", f"{out}/lora",
                     "--recipe", recipe]  # fmt: skip
        if train([*arguments, *(word for value in values for word in ("--set", value))]):
            raise SystemExit(1)


def bare(rows: Path, base: Path, recipe: str, values: list[str]) -> None:
    """Train as the examples of TRL do."""
    with tempfile.TemporaryDirectory() as out:
        bare_trainer(rows, base, read_recipe(RECIPES / f"{recipe}.toml", values), out).train()


def bare_trainer(rows: Path, base: Path, recipe: Recipe, out: str) -> Any:  # noqa: ANN401 - untyped library
    """Make trl's trainer with the recipe's values, on a GPU if available."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoTokenizer, BitsAndBytesConfig, LlamaForCausalLM
    from trl import SFTConfig, SFTTrainer

    lines = (rows / "train.jsonl").read_text(encoding="utf-8").splitlines()
    messages = [json.loads(line)["messages"] for line in lines]
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.chat_template = tokenizer.chat_template or LLAMA2_TEMPLATE
    on_gpu = torch.cuda.is_available()
    nf4 = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=recipe.double_quantization,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    return SFTTrainer(
        model=LlamaForCausalLM.from_pretrained(
            base,
            dtype=torch.bfloat16 if on_gpu else torch.float32,
            device_map={"": 0 if on_gpu else "cpu"},
            quantization_config=nf4 if recipe.quantization == "nf4" else None,
        ),
        args=SFTConfig(
            output_dir=out,
            num_train_epochs=recipe.epochs,
            per_device_train_batch_size=recipe.batch_size,
            learning_rate=recipe.learning_rate,
            lr_scheduler_type=recipe.schedule,
            warmup_steps=recipe.warmup,
            weight_decay=recipe.weight_decay,
            max_grad_norm=recipe.max_grad_norm,
            optim=recipe.optimizer,
            train_sampling_strategy="group_by_length" if recipe.length_grouped else "random",
            max_length=None,
            gradient_checkpointing=recipe.checkpoint_activations,
            bf16=recipe.precision == "bf16",
            use_cpu=not on_gpu,
            dataloader_pin_memory=on_gpu,
            logging_steps=1,
            save_strategy="epoch",
            save_total_limit=2,
            report_to="none",
            seed=0,
        ),
        train_dataset=Dataset.from_list(
            [{"prompt": row[:-1], "completion": row[-1:]} for row in messages]
        ),
        processing_class=tokenizer,
        peft_config=LoraConfig(
            r=recipe.rank,
            lora_alpha=recipe.alpha,
            lora_dropout=recipe.dropout,
            target_modules=recipe.targets,
            task_type="CAUSAL_LM",
        ),
    )


def write_rows(folder: Path) -> None:
    """Write rows of the sample catalogue as `balcao prepare` does."""
    folder.mkdir(parents=True)
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
    """Write a random Llama of 7 million weights and a tokenizer trained on the sample catalogue."""
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
