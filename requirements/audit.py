"""Ask the advisory service about every package of the device's lock files.

    python requirements/audit.py --pip-audit PROGRAM [LOCK ...]

`pip-audit` asks; here it is made sure that it has really asked about every package of the lock:
one that it skips (a registry that keeps no advisories, a service that does not answer) is a
failure and never passes silently. Exit code 0: no known vulnerability in any; 1: there are; 2: not
all could be asked about.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent
SERVICES = ("pypi", "osv")
"""Tried one after the other, until one knows all packages."""


def locked(text: str) -> dict[str, str]:
    """Return the versions by name that a lock file pins."""
    return dict(re.findall(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", text, re.MULTILINE))


def found_in(report: Any, wanted: dict[str, str]) -> tuple[list[str], list[str]]:
    """Return the vulnerabilities that a report names, and the packages that it says nothing of.

    Args:
        report: pip-audit's, as JSON; None where there is none.
        wanted: versions by name.
    """
    entries = report.get("dependencies", []) if isinstance(report, dict) else []
    asked = {
        (entry.get("name"), entry.get("version")): entry.get("vulns")
        for entry in entries
        if "skip_reason" not in entry
    }
    unknown = [
        f"{name} {version}"
        for name, version in wanted.items()
        if not isinstance(asked.get((name, version)), list)
    ]
    bad = []
    for (name, version), vulnerabilities in asked.items():
        for one in vulnerabilities or []:
            mended = ", ".join(one.get("fix_versions") or []) or "no version yet"
            bad.append(f"{name} {version}: {one.get('id')}, mended in {mended}")
    return bad, unknown


def report_of(program: Path, lock: Path, service: str) -> tuple[Any, str]:
    """Return what pip-audit reports, None if nothing, and why it reports no more."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "report.json"
        command = [str(program), "--requirement", str(lock), "--require-hashes", "--disable-pip"]
        command += ["--vulnerability-service", service, "--format", "json", "--output", str(out)]
        command += ["--progress-spinner", "off", "--timeout", "20"]
        said = ""
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            said = (done.stderr.strip().splitlines() or [""])[-1]
            report = json.loads(out.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            return None, said or str(error)
    reasons = [entry["skip_reason"] for entry in report["dependencies"] if "skip_reason" in entry]
    return report, reasons[0] if reasons else said


def audited(program: Path, lock: Path) -> int:
    """Ask about one lock file and print the outcome; returns the exit code."""
    wanted = locked(lock.read_text(encoding="utf-8"))
    if not wanted:
        print(f"{lock.name}: pins nothing; make it with `make lock`", file=sys.stderr)
        return 2
    reasons = []
    for service in SERVICES:
        report, said = report_of(program, lock, service)
        bad, unknown = found_in(report, wanted)
        if bad:
            print("\n".join(f"{lock.name}: {line}" for line in bad))
            return 1
        if not unknown:
            print(f"{lock.name}: {len(wanted)} packages, no known vulnerability ({service})")
            return 0
        reasons.append(f"{service}: {len(unknown)} of {len(wanted)} not asked about, {said[:120]}")
    print(
        f"{lock.name}: NOT AUDITED ({'; '.join(reasons)}); run it where the advisory service is "
        "reachable",
        file=sys.stderr,
    )
    return 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Ask about all; the worst outcome counts."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pip-audit", type=Path, required=True, help="the program that asks")
    parser.add_argument("locks", nargs="*", type=Path, default=sorted(FOLDER.glob("device-*.txt")))
    options = parser.parse_args(arguments)
    if not options.locks:
        print("audit: there is no lock file; make them with `make lock`", file=sys.stderr)
        return 2
    outcomes = [audited(options.pip_audit, lock) for lock in options.locks]
    return 1 if 1 in outcomes else max(outcomes)


if __name__ == "__main__":
    sys.exit(main())
