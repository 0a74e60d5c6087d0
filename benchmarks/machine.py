"""Measure this machine: the bandwidth of its memory, and the use of the GPU's."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time

import numpy as np

from engine.backends.llama.host import has_gpu

BANDWIDTH_BYTES = 512_000_000

GPU_BANDWIDTH = """
import torch
one = torch.empty(2**32, dtype=torch.uint8, device="cuda")
other, best = torch.empty_like(one), 1e9
for _ in range(6):
    began, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    began.record(); other.copy_(one); ended.record(); torch.cuda.synchronize()
    best = min(best, began.elapsed_time(ended) / 1000)
print(2 * one.nbytes / best)
"""
"""Copies memory, and counts the bytes read and those written."""


def bandwidth() -> float:
    """Return the bytes a second that the GPU reads, or otherwise all cores together."""
    if has_gpu():
        done = subprocess.run(
            [sys.executable, "-c", GPU_BANDWIDTH], capture_output=True, text=True, check=True
        )
        return float(done.stdout)
    cores = len(os.sched_getaffinity(0))
    parts = [np.ones(BANDWIDTH_BYTES // cores // 8) for _ in range(cores)]
    best = 0.0
    for _ in range(5):
        threads = [threading.Thread(target=part.sum) for part in parts]
        started = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        best = max(best, BANDWIDTH_BYTES / (time.perf_counter() - started))
    return best


def gpu_used() -> int:
    """Return the bytes of GPU memory in use by all programs; 0 without a GPU."""
    if not has_gpu():
        return 0
    command = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return int(done.stdout.split()[0]) * 2**20
