"""Training and chat give the model the same tokens."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.engine.backends.llama.tiny import Tiny
from tests.engine.training.conftest import Runner

_CHATML = (
    "{{ bos_token }}{% for m in messages %}{{ '<' + m['role'] + '>' + m['content'] + eos_token }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<assistant>' }}{% endif %}"
)
_NO_SYSTEM = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'system' %}"
    "{{ raise_exception('no system') }}{% endif %}{{ '[' + m['content'] + ']' }}{% endfor %}"
)
_OTHER_PAST = "{{ bos_token }}{% for m in messages %}{{ loop.revindex ~ m['content'] }}{% endfor %}"


@pytest.mark.parametrize("template", ["", _CHATML, _NO_SYSTEM, _OTHER_PAST])
def test_the_prompt_has_the_same_tokens(
    runner: Runner, tiny: Tiny, tmp_path: Path, template: str
) -> None:
    found = tokens(runner, tiny, tmp_path, template)
    assert found["training"] == found["chat"]
    assert all(prompt.count(found["bos"]) == 1 for prompt in found["training"])


@pytest.mark.parametrize("template", ["", _CHATML, _OTHER_PAST])
def test_every_answer_is_learned_with_its_end(
    runner: Runner, tiny: Tiny, tmp_path: Path, template: str
) -> None:
    found = tokens(runner, tiny, tmp_path, template)
    assert found["texts"] == ["A stool.", "110 kg — or so."]
    for answer in found["answers"]:
        assert answer[-1] in found["ends"]
        assert not set(answer[:-1]) & set(found["ends"])


def tokens(runner: Runner, tiny: Tiny, tmp_path: Path, template: str) -> dict[str, Any]:
    folder = Path(shutil.copytree(tiny.model, tmp_path / "model"))
    if template:
        (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
    ended = runner.run("tokens", folder)
    assert ended.status == 0, ended.log
    found: dict[str, Any] = json.loads(ended.log.splitlines()[-1])
    return found
