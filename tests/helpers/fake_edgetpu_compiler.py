"""Stands in for Google's `edgetpu_compiler` 16.0: its options, its log, its files.

The log copies the format that users of version 16.0.384591198 posted. A compiled file holds
one custom operator with the model's inputs and outputs, as the real one's do when everything
is mapped. What `FAKE_EDGETPU` says makes it fail: ``fail``, ``hang``, ``garbage``,
``nothing`` (a log, but no files) or ``unmapped`` (one operator left to the CPU).
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import flatbuffers
from ai_edge_litert import schema_py_generated as schema


def install(folder: Path) -> Path:
    """Write an executable `edgetpu_compiler` into ``folder`` that runs this file."""
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / "edgetpu_compiler"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{Path(__file__).resolve()}" "$@"\n')
    program.chmod(0o755)
    return program


def compiled(content: bytes) -> tuple[bytes, list[str]]:
    """Return the compiled twin of a model, and the names of its operators."""
    names = {value: name for name, value in vars(schema.BuiltinOperator).items() if name[0] != "_"}
    model: Any = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    graph = model.subgraphs[0]
    operators = [names[model.operatorCodes[op.opcodeIndex].builtinCode] for op in graph.operators]
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM
    code.customCode, code.version = "edgetpu-custom-op", 1
    operator = schema.OperatorT()
    operator.inputs, operator.outputs = list(graph.inputs), list(graph.outputs)
    operator.customOptions = list(b"a program for the Edge TPU")
    model.operatorCodes, graph.operators = [code], [operator]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output()), operators


def main() -> int:
    """Do what the real one does, as far as callers can see."""
    parser = argparse.ArgumentParser()
    parser.add_argument("-s", "--show_operations", action="store_true")
    parser.add_argument("-o", "--out_dir", type=Path, default=Path())
    parser.add_argument("-t", "--timeout_sec", type=int, default=180)
    parser.add_argument("models", type=Path, nargs="+")
    options = parser.parse_args()
    mood = os.environ.get("FAKE_EDGETPU", "")
    if mood == "garbage":
        print("\x1b[31mSegmentation fault? no, just noise\x00")
        return 0
    print("Edge TPU Compiler version 16.0.384591198")
    print(f"Started a compilation timeout timer of {options.timeout_sec} seconds.", flush=True)
    if mood == "hang":
        time.sleep(600)
    if mood == "fail":
        print("ERROR: Restored original execution plan after delegate application failure.")
        print("Compilation failed: Compilation failed due to large activation tensors in model.")
        print("Compilation child process completed within timeout period.")
        print("Compilation failed! ")
        return 1
    print(f"\nModel{'s' * (len(options.models) > 1)} compiled successfully in 524 ms.\n")
    for path in options.models:
        content = path.read_bytes()
        output, operators = compiled(content)
        target = options.out_dir / f"{path.stem}_edgetpu.tflite"
        if mood != "nothing":
            target.write_bytes(output)
        left = operators[-1:] if mood == "unmapped" else []
        print(f"Input model: {path}")
        print(f"Input size: {len(content) / 1024:.2f}KiB")
        print(f"Output model: {target}")
        print(f"Output size: {len(output) / 1024:.2f}KiB")
        print("On-chip memory used for caching model parameters: 12.25KiB")
        print("On-chip memory remaining for caching model parameters: 6.91MiB")
        print("Off-chip memory used for streaming uncached model parameters: 0.00B")
        print("Number of Edge TPU subgraphs: 1")
        print(f"Total number of operations: {len(operators)}")
        print(f"Operation log: {target.with_suffix('.log')}")
        if options.show_operations:
            print(f"\n{'Operator':<31}{'Count':<11}Status\n")
            for name, count in Counter(operators[: len(operators) - len(left)]).items():
                print(f"{name:<31}{count:<11}Mapped to Edge TPU")
            for name in left:
                print(f"{name:<31}{1:<11}More than one subgraph is not supported")
        print()
    print("Compilation child process completed within timeout period.")
    print("Compilation succeeded! ")
    return 0


if __name__ == "__main__":
    sys.exit(main())
