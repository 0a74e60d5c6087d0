"""Merge an adapter into its base: one model, for servers that take no adapters.

The written model is read back and compared with base and adapter before it is published. Imports
torch and peft.
"""

import json
import shlex
import shutil
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePath
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoTokenizer, GenerationConfig
from transformers.utils.logging import disable_progress_bar

from engine.backends.llama.adapters import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from engine.backends.llama.loading import load_base
from engine.backends.llama.tokens import from_transformers, read_tokenizer, transformers_tokenizer
from engine.backends.llama.unpack import with_safetensors
from engine.backends.llama.weights import (
    CONFIG,
    GGUF,
    Architecture,
    ModelFiles,
    read_json,
)
from engine.core.errors import DataError, UsageError
from engine.core.files import Manifest, atomic_folder, check_space, describe_file, write_manifest
from engine.core.text import last_part
from engine.core.types import Message, Mode, Progress, Role
from engine.models.export import MODELFILE, SERVE_GGUF, export_gguf, llama_cpp
from engine.prompts import PROMPT_VERSION, QUESTION_FORMS, chat_messages
from engine.training.data import as_messages, read_data
from engine.training.failures import explain_system_errors

_Model = Any
"""transformers has no types."""
Show = Callable[[Progress], None]

KIND, VERSION = "merged-model", 1
_QUESTIONS = 8
_INVENTED_TITLE = "the folding stool"
_MIN_AGREEMENT = 0.9
"""The share of an answer's tokens that the merged model must also choose. Rounding changes single
tokens that were nearly even; a failed merge agrees on few."""
_OTHER_FILES = 50_000_000
"""Bytes of the files other than the weights, at most."""
_NEW_TOKENS = 64
_SHARD = "5GB"
_SENTENCEPIECE = "tokenizer.model"

_CARD = """---
base_model: {base_json}
library_name: transformers
pipeline_tag: text-generation
tags:
- balcao
---

# {base}, with a LoRA adapter merged into it

Made by `balcao merge` on {created} from weights of 16 bits or more, in {precision}.

- Base: {base}
- Adapter: {adapter}
- Compared with base and adapter: {same} of {asked} answers are the same, token for token; the
  logits differ by at most {difference:.3g}.

It answers version {prompt_version} of Balcão's prompts like the adapter, and other prompts no
better. The chat template is in this folder, and servers use it automatically. For exact words, use
temperature 0 and this system prompt:

```
{system}
```

{serve}
"""
_SERVE = "Serve this folder with vLLM: `vllm serve FOLDER`."


@dataclass(frozen=True, slots=True)
class TracedAnswer:
    """The tokens of a prompt and of its answer, and the logits of each token of the answer."""

    prompt: list[int]
    tokens: list[int]
    logits: torch.Tensor


@dataclass(frozen=True, slots=True)
class Agreement:
    """Compare the merged model's answers with those of base and adapter.

    `same` of `asked` answers are equal, `agreed` is the share of equal tokens, `difference` the
    largest between two logits.
    """

    asked: int
    same: int
    agreed: float
    difference: float


def choose_prompts(data: Path | None) -> list[list[Message]]:
    """Choose a few prompts to compare answers to: from the rows in `data`, or made up."""
    if data is None:
        questions = (form.format(title=_INVENTED_TITLE) for form in QUESTION_FORMS[:_QUESTIONS])
        return [list(chat_messages(question, None, Mode.MEMORY)) for question in questions]
    rows = read_data(data).train
    prompts = []
    for turn in range(min(_QUESTIONS, len(rows))):
        messages = as_messages(rows[turn * len(rows) // _QUESTIONS].messages)
        first = next(place for place, one in enumerate(messages) if one.role == Role.ASSISTANT)
        prompts.append(messages[:first])
    return prompts


def merge(
    base: ModelFiles,
    adapter: Path,
    out: Path,
    precision: str,
    prompts: Sequence[Sequence[Message]],
    show: Show,
    gguf: str = "",
) -> Manifest:
    """Write the merged model to `out` atomically. `precision` is "auto" or a dtype's name.

    With `gguf`, a kind of such a file, the weights are in one for llama.cpp. Raise BalcaoError if
    that fails or the merged model answers differently.
    """
    if read_json(base.folder / CONFIG, Architecture).quantization_config is not None:
        raise UsageError(
            f"The base {base.name} is quantized: merging into it would change its answers.",
            "Use the same model with weights of 16 or 32 bits.",
        )
    check_space(out, base.weight_bytes * (2 if gguf else 1) + _OTHER_FILES, "the merged model")
    disable_progress_bar()  # it would share the line with ours
    with (
        atomic_folder(out, KIND) as draft,
        explain_system_errors(),
        warnings.catch_warnings(action="ignore"),
    ):
        with_safetensors(base, show)
        show(Progress("loading the model"))
        model = _add_adapter(_load(base.folder), adapter)
        answers = _ask(model, base.folder, prompts, show)
        show(Progress("merging"))
        written = _write(model, base.folder, draft, precision)
        del model
        _check_tokenizer(draft, base.folder, prompts)
        agreement = _compare(_load(draft), answers, show)
        if agreement.agreed < _MIN_AGREEMENT:
            raise DataError(
                f"The merged model agrees with base and adapter on only {agreement.agreed:.0%} of"
                " the tokens, so it was deleted.",
                "Check that the adapter is complete and was trained on this base.",
            )
        manifest = _describe(base, adapter, written, agreement)
        if gguf:
            found = _write_gguf(draft, out.name, gguf, answers, prompts, show)
            manifest.settings.update({"gguf": gguf, "llama_cpp": found})
        (draft / "README.md").write_text(_card(manifest), encoding="utf-8")
        write_manifest(draft, manifest)
    return manifest


def merge_summary(out: Path, manifest: Manifest) -> str:
    """Summarize a merged model in a few lines."""
    settings: dict[str, Any] = manifest.settings
    agreement = settings["agreement"]
    same = f"{agreement['same']} of {agreement['asked']}"
    lines = [
        f"model     {out / GGUF if 'gguf' in settings else out}",
        f"weights   {settings.get('gguf', settings['precision'])}",
        f"answers   {same} equal those of base and adapter, token for token",
        f"logits    differ by at most {agreement['difference']:.3g}",
    ]
    if found := settings.get("llama_cpp"):
        lines.append(f"llama.cpp {found['same']} of {found['asked']} answers are the same")
        lines.append(f"ollama    ollama create NAME -f {shlex.quote(str(out / MODELFILE))}")
    return "\n".join(lines)


def _load(folder: Path) -> Any:  # noqa: ANN401 - untyped library
    # In the precision of the weights: the merge then rounds once at most.
    return load_base(folder, device=0 if torch.cuda.is_available() else "cpu").eval()


def _add_adapter(model: Any, adapter: Path) -> Any:  # noqa: ANN401 - untyped library
    try:
        with warnings.catch_warnings():
            # Without these weights it would answer like the base, for no visible reason.
            warnings.filterwarnings("error", message="Found missing adapter keys")
            return PeftModel.from_pretrained(model, str(adapter)).eval()
    except (ValueError, KeyError, TypeError, UserWarning) as error:
        raise DataError(
            f"The adapter in {adapter} does not fit the base.",
            "Set --base to the model that it was trained on.",
        ) from error


def _ask(
    model: _Model, base: Path, prompts: Sequence[Sequence[Message]], show: Show
) -> list[TracedAnswer]:
    tokens = read_tokenizer(base)
    answers = []
    for number, messages in enumerate(prompts):
        show(Progress("asking base and adapter", number / len(prompts)))
        answers.append(_answer(model, tokens.encode_chat(messages, ask=True)))
    return answers


@torch.inference_mode()
def _answer(model: Any, prompt: list[int]) -> TracedAnswer:  # noqa: ANN401 - untyped library
    asked = torch.tensor([prompt], device=model.device)
    ends = model.generation_config.eos_token_id
    found = model.generate(
        input_ids=asked,
        attention_mask=torch.ones_like(asked),
        generation_config=GenerationConfig(
            max_new_tokens=_NEW_TOKENS, do_sample=False, eos_token_id=ends, pad_token_id=0
        ),
    )
    tokens: list[int] = found[0, len(prompt) :].tolist()
    return TracedAnswer(prompt, tokens, _logits(model, prompt, tokens))


@torch.inference_mode()
def _logits(model: Any, prompt: list[int], tokens: list[int]) -> torch.Tensor:  # noqa: ANN401 - as above
    whole = torch.tensor([[*prompt, *tokens]], device=model.device)
    logits: torch.Tensor = model(whole).logits[0, len(prompt) - 1 : -1]
    return logits.float().cpu()


def _write(model: Any, base: Path, folder: Path, precision: str) -> str:  # noqa: ANN401 - as above
    merged = model.merge_and_unload(safe_merge=True)
    dtype = _choose_dtype(merged, precision)
    preset = merged.generation_config
    # Servers take these as their defaults: greedy decoding gives the exact words.
    merged.to(dtype).generation_config = GenerationConfig(
        bos_token_id=preset.bos_token_id,
        eos_token_id=preset.eos_token_id,
        pad_token_id=preset.pad_token_id,
        do_sample=False,
    )
    merged.save_pretrained(folder, max_shard_size=_SHARD)
    _write_tokenizer(base, folder)
    return str(dtype).removeprefix("torch.")


def _choose_dtype(model: Any, precision: str) -> torch.dtype:  # noqa: ANN401 - as above
    """Keep 16 bits; round 32 bits to float16, or to bfloat16 if a weight is too large."""
    if precision != "auto":
        return torch.float16 if precision == "float16" else torch.bfloat16
    stored: torch.dtype = model.dtype
    if stored in (torch.float16, torch.bfloat16):
        return stored
    largest = max(float(weight.abs().max()) for weight in model.parameters())
    return torch.float16 if largest < torch.finfo(torch.float16).max else torch.bfloat16


def _write_tokenizer(base: Path, folder: Path) -> None:
    tokenizer = transformers_tokenizer(base)
    template = read_tokenizer(base).template
    # Marks for trainers, which not every server accepts.
    for mark in ("{% generation %}", "{% endgeneration %}"):
        template = template.replace(mark, "")
    tokenizer.chat_template = template
    tokenizer.save_pretrained(folder)
    if (base / _SENTENCEPIECE).is_file():
        shutil.copyfile(base / _SENTENCEPIECE, folder / _SENTENCEPIECE)


def _check_tokenizer(folder: Path, base: Path, prompts: Sequence[Sequence[Message]]) -> None:
    written = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    before, after = read_tokenizer(base), from_transformers(written)
    if any(
        before.encode_chat(one, ask=True) != after.encode_chat(one, ask=True) for one in prompts
    ):
        raise DataError(
            "The base's tokenizer gives other tokens after it is written.",
            "Set `tokenizer_class` in its tokenizer_config.json to the class that reads it.",
        )


def _compare(model: _Model, answers: Sequence[TracedAnswer], show: Show) -> Agreement:
    same, agreed, difference = 0, 0, 0.0
    for number, answer in enumerate(answers):
        show(Progress("asking the merged model", number / len(answers)))
        same += _answer(model, answer.prompt).tokens == answer.tokens
        logits = _logits(model, answer.prompt, answer.tokens)
        agreed += int((logits.argmax(-1) == answer.logits.argmax(-1)).sum())
        difference = max(difference, float((logits - answer.logits).abs().max()))
    total = sum(len(answer.tokens) for answer in answers)
    return Agreement(len(answers), same, agreed / total, difference)


def _write_gguf(
    folder: Path,
    title: str,
    kind: str,
    answers: Sequence[TracedAnswer],
    prompts: Sequence[Sequence[Message]],
    show: Show,
) -> dict[str, int]:
    """Write the weights as one GGUF file in their place; return how llama.cpp's answers agree."""
    tokenizer = read_tokenizer(folder)
    export_gguf(folder, title, kind, chat_messages("", None, Mode.MEMORY)[0].content, show)
    same = 0
    with llama_cpp(folder / GGUF, _NEW_TOKENS) as ask:
        for number, (prompt, answer) in enumerate(zip(prompts, answers, strict=True)):
            show(Progress("asking llama.cpp", number / len(prompts)))
            read, said = ask(prompt)
            if read != len(answer.prompt):
                raise DataError(
                    f"llama.cpp reads {read} tokens in a prompt of {len(answer.prompt)}: the GGUF"
                    " file was deleted.",
                    "Its tokenizer is not supported: merge without --gguf.",
                )
            same += said.strip() == tokenizer.decode(answer.tokens).strip()
    return {"asked": len(prompts), "same": same}


def _describe(base: ModelFiles, adapter: Path, precision: str, agreement: Agreement) -> Manifest:
    weights = [base.folder / CONFIG, *base.files]
    trained = [adapter / ADAPTER_CONFIG, adapter / ADAPTER_WEIGHTS]
    return Manifest(
        kind=KIND,
        version=VERSION,
        inputs=[describe_file(file) for file in (*weights, *trained)],
        settings={
            "base": base.name,
            "adapter": str(adapter),
            "precision": precision,
            "agreement": asdict(agreement),
        },
        prompt_version=PROMPT_VERSION,
    )


def _card(manifest: Manifest) -> str:
    settings: dict[str, Any] = manifest.settings
    base = str(settings["base"])
    serve = SERVE_GGUF.format(**settings["llama_cpp"]) if "gguf" in settings else _SERVE
    return _CARD.format(
        base_json=json.dumps(base, ensure_ascii=False),
        base=last_part(base),
        adapter=PurePath(settings["adapter"]).name,
        created=manifest.created,
        precision=settings["precision"],
        prompt_version=PROMPT_VERSION,
        system=chat_messages("", None, Mode.MEMORY)[0].content,
        serve=serve,
        **settings["agreement"],
    )
