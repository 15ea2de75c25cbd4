#!/usr/bin/env bash
# Run a command of pytest on some files. Where the interpreter itself ended, by a signal in native
# code, that is said and the files run once more; that none of their tests is asked for is no failure.
set -uo pipefail
"$@"
code=$?
if ((code >= 128)); then
	echo "run_files: ended by signal $((code - 128)), once more: ${*: -1}" >&2
	"$@"
	code=$?
fi
((code == 5)) || exit "$code"
