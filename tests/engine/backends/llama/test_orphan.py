"""A worker whose chat was killed."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from tests.engine.backends.llama.conftest import lives
from tests.engine.backends.llama.tiny import ROOT


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
def test_worker_dies_with_the_chat() -> None:
    code = (
        "import asyncio\n"
        "from engine.backends.llama.host import WorkerProcess\n"
        "async def main():\n"
        "    worker = await WorkerProcess.start()\n"
        "    print(worker.pid, flush=True)\n"
        "    await asyncio.sleep(600)\n"
        "asyncio.run(main())\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as chat:
        assert chat.stdout is not None
        worker = int(chat.stdout.readline())
        assert lives(worker)
        chat.kill()
    for _ in range(200):
        if not lives(worker):
            break
        time.sleep(0.05)
    assert not lives(worker)
