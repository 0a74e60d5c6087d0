"""Train a tiny Llama that knows a few answers, and an adapter; write what both should answer.

Run by conftest.py as a process of its own:
`python -m tests.engine.backends.llama.make_model FOLDER`. The expected answers come from
transformers and peft alone, so that our engine is compared with them.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from tokenizers import (
    Tokenizer,
    models,
    pre_tokenizers,
    trainers,
)
from transformers import LlamaConfig, LlamaForCausalLM, LlamaTokenizer

from engine.core.types import Mode
from engine.prompts import LLAMA2_TEMPLATE, SYSTEM, chat_messages

HELLO = "Who are you?"
UNUSUAL = "What does it cost?"
LOOP = "Say it again"
LONG = "Tell me all"

BASE: dict[str, str] = {
    HELLO: "I am the clerk at this counter.",
    UNUSUAL: "Preço: 10 € — café 🐱 and 日本茶, naïve.",
    LOOP: "tick tock " * 45,
    LONG: "A keeper climbs the stairs. " + " ".join(f"Step {n} of stone." for n in range(1, 11)),
}
# In words that the base writes as well: the adapter leaves the output layer alone.
TUNED: dict[str, str] = {
    HELLO: "A keeper climbs the stairs.",
    LONG: "I am the clerk of stone.",
}
_ENDLESS = {LOOP}


def main(folder: Path) -> None:
    """Write `model`, `adapter` and `expected.json` into `folder`."""
    torch.manual_seed(7)
    torch.set_num_threads(1)
    tokenizer = _tokenizer()
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=640,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
        )
    )
    _learn(model, tokenizer, BASE, steps=120, rate=6e-3)
    model.save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    expected = {"base": _answers(model, tokenizer)}
    tuned = get_peft_model(
        model, LoraConfig(r=8, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
    )
    _learn(tuned, tokenizer, TUNED, steps=60, rate=5e-3)
    tuned.save_pretrained(folder / "adapter")
    expected["tuned"] = _answers(tuned, tokenizer)
    (folder / "expected.json").write_text(json.dumps(expected), encoding="utf-8")


def _tokenizer() -> Any:
    """Train a Llama tokenizer that encodes unseen characters, such as the euro sign, in bytes."""
    words = [SYSTEM, *BASE, *BASE.values(), *TUNED.values(), "[INST] [/INST] <<SYS>> <</SYS>>"]
    trained = Tokenizer(models.BPE(byte_fallback=True))
    trained.pre_tokenizer = pre_tokenizers.Metaspace()
    trained.train_from_iterator(
        (text.encode("ascii", "ignore").decode() for text in words),
        trainers.BpeTrainer(
            vocab_size=480,
            special_tokens=["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))],
            show_progress=False,
        ),
    )
    model = json.loads(trained.to_str())["model"]
    merges = [tuple(pair) for pair in model["merges"]]
    return LlamaTokenizer(vocab=model["vocab"], merges=merges)


def _prompt(tokenizer: Any, question: str) -> list[int]:
    messages = [
        {"role": message.role.value, "content": message.content}
        for message in chat_messages(question, None, Mode.MEMORY)
    ]
    return list(
        tokenizer.apply_chat_template(messages, chat_template=LLAMA2_TEMPLATE, return_dict=True)[
            "input_ids"
        ]
    )


def _learn(model: Any, tokenizer: Any, answers: dict[str, str], steps: int, rate: float) -> None:
    rows = []
    for question, answer in answers.items():
        prompt = _prompt(tokenizer, question)
        end = [] if question in _ENDLESS else [tokenizer.eos_token_id]
        tokens = tokenizer(answer, add_special_tokens=False)["input_ids"] + end
        rows.append((prompt + tokens, [-100] * len(prompt) + tokens))
    longest = max(len(tokens) for tokens, _ in rows)
    inputs = torch.tensor([tokens + [0] * (longest - len(tokens)) for tokens, _ in rows])
    labels = torch.tensor([marks + [-100] * (longest - len(marks)) for _, marks in rows])
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=rate, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    model.train()
    for _ in range(steps):
        loss = model(input_ids=inputs, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    model.eval()
    print(f"loss {float(loss):.4f}")  # noqa: T201 - for whoever runs it by hand


def _answers(model: Any, tokenizer: Any) -> dict[str, Any]:
    """Return the greedy answers of `generate` by question: prompt length, tokens, text."""
    answers = {}
    for question in BASE:
        prompt = torch.tensor([_prompt(tokenizer, question)])
        tokens = model.generate(
            input_ids=prompt,
            attention_mask=torch.ones_like(prompt),
            max_new_tokens=120,
            do_sample=False,
        )[0, prompt.shape[1] :].tolist()
        answers[question] = {
            "prompt": prompt.shape[1],
            "tokens": len(tokens),
            "text": tokenizer.decode(tokens, skip_special_tokens=True),
        }
    return answers


if __name__ == "__main__":
    main(Path(sys.argv[1]))
