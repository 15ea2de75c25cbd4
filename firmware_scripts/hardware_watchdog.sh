#!/usr/bin/env bash
# Let the Raspberry Pi's own watchdog restart it when systemd, and so everything, hangs. What
# hangs above systemd is the service's watchdog's business.
set -euo pipefail

readonly HELP="Usage: sudo bash hardware_watchdog.sh [OPTIONS]

Let the device restart itself when its system hangs.

Options:
  --seconds N   without a sign of life from systemd (default: 14; a Raspberry Pi can at most 15)
  --dry-run     print every command and change nothing
  --undo        switch it off again
  --help        show this

Exit code 0: done; 1: a step failed, run it again; 2: wrong use or not a device for this."

name=hardware_watchdog.sh
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=steps/common.sh
source "$here/steps/common.sh"

root=${QLVIT_EDGE_ROOT:-}
file=$root/etc/systemd/system.conf.d/60-qlvit-edge-watchdog.conf
seconds=14
undo=false

parse() {
  while (($#)); do
    case $1 in
      --help | -h)
        echo "$HELP"
        exit 0
        ;;
      --dry-run) dry_run=true ;;
      --undo) undo=true ;;
      --seconds)
        need_value "$@"
        seconds=$2
        shift
        ;;
      *) refuse "unknown option $1" "see --help" ;;
    esac
    shift
  done
  if [[ ! $seconds =~ ^([5-9]|1[0-5])$ ]]; then
    refuse "--seconds $seconds is not a whole number from 5 to 15" "a Raspberry Pi's watchdog waits 15 s at most"
  fi
}

switch_on() {
  make_folder "${file%/*}"
  write "# Made by $name.
[Manager]
RuntimeWatchdogSec=${seconds}s
RebootWatchdogSec=2min" "$file"
}

reload() { # since the last of these changes
  if ((changes > $1)) && booted; then
    run systemctl daemon-reexec
  fi
}

main() {
  parse "$@"
  need_root
  $dry_run || refuse_overlay
  local before=$changes
  if $undo; then
    step "Hardware watchdog off" "see above" remove "$file"
    reload "$before"
    finish "The device does not restart itself any more."
    return
  fi
  if [[ ! -e $root/dev/watchdog ]]; then
    $dry_run || refuse "there is no /dev/watchdog" \
      "put dtparam=watchdog=on into /boot/firmware/config.txt and restart"
    echo "note: there is no /dev/watchdog; on it this would be refused"
  fi
  step "Hardware watchdog on" "see above" switch_on
  reload "$before"
  finish "The device restarts itself after $seconds s without a sign of life."
}

main "$@"
