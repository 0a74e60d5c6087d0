"""The libraries that run a Llama on a CPU, side by side: speed, memory, weight, and adapters.

python -m benchmarks.cpu_runtimes MODEL [--adapter DIR] [--python LIBRARY=PYTHON …]
    [--openvino PRECISION=FOLDER …] [--only ROW …]
python -m benchmarks.cpu_runtimes MODEL --adapter DIR --words 20 …    (whether they say the same)

Each runs in a process of its own, by the interpreter of the environment that it is installed in;
what is not there is left out with a sentence. llama.cpp in 4 bits comes first, and the others are
told as ratios to it. For OpenVINO a model has to be converted beforehand, in an environment with
optimum-intel and nncf: `optimum-cli export openvino --model MODEL --task text-generation-with-past
--weight-format int4 FOLDER`; --openvino also takes a GGUF file.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.cpu_runtimes_words import compare, prompts_of
from engine.backends.llama.messages import Quantization
from engine.backends.llama.runtimes import threads
from engine.backends.llama.weights import ModelFiles, find_model, read_json

ROOT = Path(__file__).resolve().parent.parent
LENGTH, TOKENS = 500, 65
"""Tokens of a prompt, and of an answer: the first is the prompt's own."""

LONGEST = 250
"""Seconds after which a library is given up."""

COLUMNS = 11
GGUF: dict[str, Quantization] = {"Q4_K_M": "nf4", "Q8_0": "int8", "bf16": "none", "fp32": "auto"}
PACKAGES = {
    "llama.cpp": ("llama-cpp-python", "gguf"),
    "transformers": (),
    "torchao": ("torchao",),
    "openvino": ("openvino-genai",),
}
COMMON = ("torch", "transformers", "peft", "accelerate")
"""What is installed anyway, for training; its own requirements count as well."""

WEIGHT = """
import json, re, sys
from importlib.metadata import PackageNotFoundError, distribution
def closure(names):
    found, todo = {}, list(names)
    while todo:
        name = re.sub("[-_.]+", "-", todo.pop()).lower()
        if name in found: continue
        try: one = distribution(name)
        except PackageNotFoundError: continue
        found[name] = sum(f.size or 0 for f in one.files or ())
        todo += [re.match(r"[\\w.-]+", r)[0] for r in one.requires or () if "extra ==" not in r]
    return found
own, common = (closure(names) for names in json.loads(sys.argv[1]))
print(sum(size for name, size in own.items() if name not in json.loads(sys.argv[2])))
print(json.dumps(sorted(common)))
"""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: a library, how the weights are held, and what its process is told."""

    name: str
    precision: str
    library: str
    job: dict[str, Any] = field(default_factory=dict)


ROWS = (
    Row("llama.cpp", "Q4_K_M", "llama.cpp"),
    Row("llama.cpp, weights held twice", "Q4_K_M", "llama.cpp", {"repacked": True}),
    Row("llama.cpp", "Q8_0", "llama.cpp"),
    Row("llama.cpp", "bf16", "llama.cpp"),
    Row("transformers", "bf16", "transformers"),
    Row("torch.compile", "bf16", "transformers", {"compiled": True}),
    Row("torchao", "int8", "torchao", {"bits": 8}),
    Row("torchao, compiled", "int8", "torchao", {"bits": 8, "compiled": True}),
    Row("torchao", "int4", "torchao", {"bits": 4}),
    Row("torchao, compiled", "int4", "torchao", {"bits": 4, "compiled": True}),
)


class Bench:
    """What is measured, and by which interpreters."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.model: ModelFiles = find_model(options.model, "base")
        self.adapter = Path(options.adapter).resolve() if options.adapter else None
        self.pythons = {"llama.cpp": sys.executable, "transformers": sys.executable}
        self.pythons |= dict(one.split("=", 1) for one in options.python)
        named = (one.split("=", 1) for one in options.openvino)
        self.openvino = {name: str(Path(file).absolute()) for name, file in named}
        self.rounds: int = options.rounds

    def rows(self) -> list[Row]:
        """Every line that can be asked for."""
        rows = list(ROWS)
        for name in self.openvino:
            rows.append(Row("OpenVINO GenAI", name, "openvino"))
            whole = {"properties": {"ENABLE_MMAP": False}}
            rows.append(Row("OpenVINO GenAI, file read whole", name, "openvino", whole))
        return rows

    def why_not(self, row: Row) -> str:
        """Why that row cannot be measured here, or nothing."""
        python = self.pythons.get(row.library)
        if python is None:
            return f"no interpreter is named (--python {row.library}=PYTHON)"
        packages = PACKAGES[row.library] or COMMON[:2]
        script = "import sys, importlib.metadata as m; [m.distribution(n) for n in sys.argv[1:]]"
        asked = subprocess.run([python, "-c", script, *packages], capture_output=True, check=False)
        return f"{python} has not all of {', '.join(packages)}" if asked.returncode else ""

    def weight(self, library: str) -> float:
        """MB of the library's packages that nothing else of ours needs."""
        known = self._weigh("transformers", COMMON, [])[1]
        return float(self._weigh(library, PACKAGES[library], json.loads(known))[0]) / 1e6

    def run(self, row: Row, *, adapter: bool, **more: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
        """What the row's process found; raises subprocess.SubprocessError if it failed."""
        job = self._job(row, adapter=adapter) | more
        # Not made absolute by resolving links: an interpreter knows its environment by its path.
        python = Path(self.pythons[row.library]).absolute()
        own = {"HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1"}
        with tempfile.TemporaryDirectory() as compiled:
            # Empty each time: what a process has compiled before would serve the next one.
            done = subprocess.run(
                [python, "-m", "benchmarks.cpu_runtimes_child", json.dumps(job)],
                cwd=ROOT,
                env={**os.environ, **own, "TORCHINDUCTOR_CACHE_DIR": compiled},
                capture_output=True,
                text=True,
                check=True,
                timeout=LONGEST,
            )
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return found

    def _job(self, row: Row, *, adapter: bool) -> dict[str, Any]:
        config = self.model.config
        model, lora, factor = str(self.model.folder), None, 0.0
        if adapter and self.adapter:
            told = read_json(self.adapter / "adapter_config.json", dict[str, Any])
            lora, factor = str(self.adapter), told["lora_alpha"] / told["r"]
        if row.library == "openvino":
            model = self.openvino[row.precision]
        if row.library == "llama.cpp":
            from engine.backends.llama import gguf as cache

            cache.be_silent()
            kind = GGUF[row.precision]
            model = str(cache.model_file(self.model, kind, lambda _progress: None))
            if lora and self.adapter:
                lora = str(cache.adapter_file(self.adapter, self.model))
        return {
            "library": "transformers" if row.library == "torchao" else row.library,
            "model": model,
            "adapter": lora,
            "factor": factor,
            "threads": threads(self.model.weight_bytes),
            "dtype": "float32" if row.precision == "fp32" else "bfloat16",
            "bits": None,
            "compiled": False,
            "repacked": False,
            "whole_cache": False,
            "properties": {},
            "context": 1024,
            "room": LENGTH + TOKENS + 3,
            "length": LENGTH,
            "tokens": TOKENS,
            "vocabulary": config.vocab_size,
            "rounds": self.rounds,
        } | row.job

    def _weigh(self, library: str, packages: Sequence[str], without: list[str]) -> list[str]:
        given = [json.dumps([packages, COMMON]), json.dumps(without)]
        done = subprocess.run(
            [self.pythons[library], "-c", WEIGHT, *given],
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.splitlines()


def measure(bench: Bench, rows: Sequence[Row]) -> None:
    """Print the table, a line as soon as it is known."""
    columns = ("MB to install", "load s", "first answer s", "reading", "writing", "peak MB")
    print("| | weights | " + " | ".join(columns) + " | held MB | with the adapter: reading |"
          " writing | peak MB | switch ms |")  # fmt: skip
    print("|---" * (COLUMNS + 2) + "|", flush=True)
    first: dict[str, float] = {}
    for row in rows:
        told = [f"{bench.weight(row.library):.0f}"]
        for adapter in (False, True) if bench.adapter else (False,):
            found = attempt(bench, row, adapter=adapter)
            if isinstance(found, str):
                told.append(found)
                break
            kind = "adapter " if adapter else ""
            for name in ("reading", "writing", "peak", "resident"):
                first.setdefault(kind + name, found[name])
            told += cells(found, first, kind)
        told += [""] * (COLUMNS - len(told))
        print(f"| {row.name} | {row.precision} | " + " | ".join(told) + " |", flush=True)


def cells(found: dict[str, Any], first: dict[str, float], kind: str) -> list[str]:
    """A process's findings, with their ratios to the first row's."""

    def beside(name: str, unit: float = 1) -> str:
        digits = 1 if found[name] / unit < 100 else 0
        return f"{found[name] / unit:.{digits}f} ({found[name] / first[kind + name]:.2f})"

    speed = [beside("reading"), beside("writing"), beside("peak", 1e6)]
    if kind:
        return [*speed, f"{found['switch'] * 1000:.0f}"]
    begin = [f"{found[name]:.1f}" for name in ("load", "first_answer")]
    return [*begin, *speed, beside("resident", 1e6)]


def attempt(bench: Bench, row: Row, *, adapter: bool) -> dict[str, Any] | str:
    """What the row's process found, or what it said at its end."""
    try:
        return bench.run(row, adapter=adapter)
    except subprocess.TimeoutExpired:
        return f"no result in {LONGEST} s"
    except subprocess.CalledProcessError as error:
        lines = [line for line in error.stderr.splitlines() if line.strip()]
        print(error.stderr[-3000:], file=sys.stderr)
        return "failed: " + (lines[-1].replace("|", "/")[:160] if lines else "no word")


def words(bench: Bench, rows: Sequence[Row], count: int) -> None:
    """Print how many answers of each are token for token those of transformers in fp32."""
    more = {"prompts": prompts_of(bench.model.folder, count), "context": 2048}
    reference = bench.run(Row("", "fp32", "transformers"), adapter=True, **more)
    for row in rows:
        try:
            found = bench.run(row, adapter=True, **more)
        except subprocess.CalledProcessError as error:
            print(f"{row.name}, {row.precision}: failed: {error.stderr[-1500:]}")
            continue
        for name in ("base", "adapter"):
            result = compare(found[name], reference[name], reference[f"{name} margins"])
            print(f"{row.name}, {row.precision}, {name}: {result}", flush=True)
        if found["again"] != found["adapter"]:
            print("  after the base, the adapter says something else than before")


def main() -> None:
    """Measure what is there."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add: Callable[..., Any] = parser.add_argument
    add("model")
    add("--adapter", metavar="DIR", help="left out: the base alone is measured")
    add("--python", action="append", default=[], metavar="LIBRARY=PYTHON")
    add("--openvino", action="append", default=[], metavar="PRECISION=FOLDER")
    add("--only", action="append", default=[], metavar="ROW[:WEIGHTS]")
    add("--rounds", type=int, default=2)
    add("--words", type=int, default=0, metavar="N", help="compare N answers instead")
    options = parser.parse_args()
    bench, chosen = Bench(options), []
    rows = bench.rows()
    if options.words:
        whole = {"whole_cache": True}
        rows = [
            Row("llama.cpp", "fp32", "llama.cpp"),
            Row("llama.cpp, keys and values in fp32", "fp32", "llama.cpp", whole),
            *rows,
        ]
    for row in rows:
        named = {row.library, row.name, f"{row.name}:{row.precision}"} & set(options.only)
        if options.only and not named and row is not rows[0]:
            continue
        if problem := bench.why_not(row):
            print(f"{row.name}, {row.precision}: left out, since {problem}.")
            continue
        chosen.append(row)
    if options.words:
        words(bench, chosen, options.words)
    else:
        measure(bench, chosen)


if __name__ == "__main__":
    main()
