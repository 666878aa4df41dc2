#!/usr/bin/env bash
# exit-code.sh COMMAND …: run a comparison or a gate, and say in one line how it ended.
# Exits as the command does, but for 3, inconclusive, which is a warning and exits with 0.
set -uo pipefail

"$@"
code=$?
case $code in
  0) ;;
  1) echo "::error title=Throughput::slower than the margin allows: accept it with a note, or revert (docs/ci.md)" ;;
  2) echo "::error title=Throughput::bad input: see the line above" ;;
  3) echo "::warning title=Throughput::inconclusive: no regression shown, none excluded" ; code=0 ;;
  4) echo "::error title=Throughput::nothing was measured" ;;
  *) echo "::error title=Throughput::ended with code $code" ;;
esac
exit "$code"
