"""The commands of training load nothing heavy before they know that they need it."""

from __future__ import annotations

from tests.test_imports import HEAVY, loaded_after


def test_nothing_heavy_is_loaded() -> None:
    script = (
        "import scripts.finetune, scripts.keys\n"
        "scripts.finetune.make_parser(); scripts.keys.main(['list'])"
    )
    loaded = loaded_after(script)
    assert not loaded & (HEAVY | {"tiktoken", "keyring", "textual", "tui"})
