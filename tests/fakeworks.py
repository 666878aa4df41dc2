"""A package `bench` that stands in for a checkout's: its works do what their fields say, and need no torch nor images.

`write` puts it, with a stand-in for torch, into a folder that goes first on an instrument's PYTHONPATH. What the works
do is told in the place of a data set: `trouble=raise when=FILE` raises once there is that file, without it at once.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from bench.checkout import Checkout

TORCH = """
class version: cuda = None
class cuda:
    @staticmethod
    def is_available(): return False
class backends:
    class cudnn:
        @staticmethod
        def version(): return None
__version__ = "0.fake"
threads = None
def set_num_threads(count):
    global threads
    threads = count
def set_flush_denormal(on): assert on
"""

SECONDS = 0.0005  # of a call

WORKS = """
import json, os, signal, sys, time
import __main__
from contextlib import nullcontext
from types import SimpleNamespace

class ResbenchError(Exception): pass
class FieldError(ResbenchError): pass

SECONDS = 0.0005
__main__.WARM_UP_SECONDS = 0.004

def burn(seconds):
    until = time.process_time() + seconds
    while time.process_time() < until: pass

def ceilings(device):
    if device == "none": raise RuntimeError("no such device")
    return {"bandwidth": 1e9, "rates": {"fp32": 2e9}}

def prepare(fields, source, device):
    import torch
    told = dict(part.partition("=")[::2] for part in source.split())
    if "told" in told:
        with open(told["told"], "a") as file:
            seen = {"fields": fields, "device": device, "threads": torch.threads}
            seen |= {"pid": os.getpid(), "cwd": os.getcwd()}
            print(json.dumps(seen), file=file)
    def trouble():
        kind = told.get("trouble")
        if kind == "raise": raise ZeroDivisionError("of the test\\nand more")
        if kind == "refuse": raise FieldError("not that")
        if kind == "memory": raise MemoryError
        if kind == "allocator": raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried")
        if kind == "exit": sys.exit(3)
        if kind == "leave": os._exit(7)
        if kind == "kill": os.kill(os.getpid(), signal.SIGKILL)
        if kind == "hang":
            while True: time.sleep(60)

    if "when" not in told: trouble()

    def call():
        if "when" in told and os.path.exists(told["when"]): trouble()
        if "print" in told:
            print("noise", flush=True)
            os.write(1, b'{"seconds": 0}\\n')
        time.sleep(SECONDS) if "sleep" in told else burn(SECONDS)

    def repeat(calls):
        for _ in range(calls): call()

    return SimpleNamespace(repeat=repeat, images=3, stream=nullcontext, parameters=5, multiply_adds=7, call_bytes=None,
                           call_multiply_adds=11)
"""


def write(root: Path, works: str = WORKS) -> Checkout:
    """A checkout whose package is the stand-in."""
    (root / "bench").mkdir(parents=True)
    (root / "bench" / "__init__.py").write_text("")
    (root / "bench" / "works.py").write_text(works)
    (root / "torch.py").write_text(TORCH)
    return Checkout("fake", root, "a" * 40, False, datetime(2026, 1, 1, tzinfo=UTC))
