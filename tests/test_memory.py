"""Freed memory stays with the process, which does not ask for it again."""

import json
import subprocess
import sys

import pytest

RUN = """
import json, resource, sys
import torch
from stages.memory import keep_freed_memory

if json.loads(sys.argv[1]):
    keep_freed_memory()

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def use():
    torch.ones(16 << 20).add_(1)  # 64 MB, which glibc else maps anew each time

for _ in range(10):
    use()
before = faults()
for _ in range(5):
    use()
print(faults() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="it is glibc that is set")
def test_large_blocks_are_used_again():
    asked = {}
    for kept in (False, True):
        command = [sys.executable, "-c", RUN, json.dumps(kept)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        asked[kept] = int(done.stdout)
    # 16,384 pages each time, or 32 huge ones.
    assert asked[False] >= 5 * 32
    assert asked[True] < asked[False] / 4
