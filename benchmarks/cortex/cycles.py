"""Cycles per block by the model of a processor in LLVM's machine code analyser, memory ideal.

Every block is analysed as if it were repeated a hundred times; its cost is the cycles per
repetition. So loops are right, code between loops is a little too dear (nothing of its
neighbours overlaps with it), and every load hits the first-level cache. LLVM models the A72 as
a Cortex-A57, its predecessor, and the A76 is taken as the Neoverse N1, the same core for servers.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterable

from arm64_userland import fail

VERSION = "19"
ITERATIONS = 100
_MODELS = {"cortex-a72": "cortex-a72", "cortex-a76": "neoverse-n1"}
_FEATURES = "-mattr=+v8.2a,+dotprod,+fullfp16,+crypto"
_WORD = 4
# A call would count as a hundred cycles, for what it calls; here that is counted itself.
_AS_JUMPS = {"bl": "b", "blr": "br", "ret": "br x30"}


def block_cycles(codes: Iterable[bytes], cpu: str) -> dict[bytes, float]:
    """Return cycles per execution for blocks of machine code.

    Args:
        codes: the blocks' bytes, whole instructions of four bytes each.
        cpu: `cortex-a72` or `cortex-a76`.

    Raises:
        SystemExit: no model of that processor, LLVM is missing or fails.
    """
    if cpu not in _MODELS:
        fail(f"{cpu}: no model of its cycles; one of {', '.join(_MODELS)}")
    blocks = list(dict.fromkeys(codes))
    assembly = disassemble({word for code in blocks for word in _words(code)})
    text = "".join(
        f"# LLVM-MCA-BEGIN {number}\n"
        + "".join(f"{assembly[word]}\n" for word in _words(code))
        + "# LLVM-MCA-END\n"
        for number, code in enumerate(blocks)
    )
    options = (f"-mcpu={_MODELS[cpu]}", _FEATURES, f"-iterations={ITERATIONS}", "-json")
    regions = json.loads(_llvm("llvm-mca", text, *options))["CodeRegions"]
    found = {blocks[int(region["Name"])]: region["SummaryView"] for region in regions}
    return {code: view["TotalCycles"] / view["Iterations"] for code, view in found.items()}


def disassemble(words: Iterable[bytes]) -> dict[bytes, str]:
    """Return the assembly of single instructions, calls as jumps.

    Raises:
        SystemExit: LLVM is missing, or does not know an instruction.
    """
    listed = sorted(words)
    given = "".join(" ".join(f"0x{byte:02x}" for byte in word) + "\n" for word in listed)
    printed = _llvm("llvm-mc", given, "--disassemble", _FEATURES)
    lines = [line.strip() for line in printed.splitlines()]
    lines = [line for line in lines if line and not line.startswith(".")]
    if len(lines) != len(listed):
        fail(f"llvm-mc: {len(lines)} of {len(listed)} instructions are known to it")
    return {word: as_jump(line) for word, line in zip(listed, lines, strict=True)}


def as_jump(line: str) -> str:
    """Replace a call or a return by a jump of the same form."""
    return re.sub(r"^(ret|blr|bl)\b", lambda match: _AS_JUMPS[match[1]], line)


def _words(code: bytes) -> list[bytes]:
    return [code[i : i + _WORD] for i in range(0, len(code), _WORD)]


def _llvm(tool: str, text: str, *options: str) -> str:
    program = f"{tool}-{VERSION}"
    if shutil.which(program) is None:
        fail(f"{program}: not installed; apt-get install llvm-{VERSION}, or leave out --cycles")
    done = subprocess.run(
        [program, "-triple=aarch64" if tool == "llvm-mc" else "-mtriple=aarch64", *options],
        input=text,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        fail(f"{program}: {(done.stderr.strip().splitlines() or ['failed'])[0]}")
    return done.stdout
