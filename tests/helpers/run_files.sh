#!/usr/bin/env bash
# Run a command of pytest on some files, with a line of what came of it; where tests failed, all that
# it wrote goes into the folder $FAILED, to be shown at the end. Where the interpreter itself ended,
# by a signal in native code, that is said and the files run once more; that none of their tests is
# asked for is no failure.
set -uo pipefail
log=$(mktemp -p "$FAILED")
for attempt in 1 2; do
	"$@" >"$log" 2>&1
	code=$?
	((code >= 128 && attempt == 1)) || break
	echo "ended by signal $((code - 128)), once more: ${*: -1}"
	cat "$log"
done
files=()
for argument; do
	[[ $argument != */test_*.py ]] || files+=("$(basename "$argument" .py)")
done
echo "${files[*]}: $(tail -n 1 "$log")"
if ((code == 0 || code == 5)); then
	rm "$log"
else
	echo "pytest of ${files[*]}: exit $code" >>"$log"
	exit 1
fi
