#!/usr/bin/env bats
# The hardware's watchdog is switched on and off.
# shellcheck disable=SC2016,SC2154 # stand-ins are written as they are; variables of device.bash and bats

load device

setup() {
  make_device
  touch "$QLVIT_EDGE_ROOT/dev/watchdog"
  script=$scripts/hardware_watchdog.sh
  file=$QLVIT_EDGE_ROOT/etc/systemd/system.conf.d/60-qlvit-edge-watchdog.conf
}

@test "the watchdog is switched on, once, and off again" {
  changes_nothing_dry "$script"
  [[ $output == *"    RuntimeWatchdogSec=14s"* ]]
  run bash "$script"
  [ "$status" -eq 0 ]
  grep -qx 'RuntimeWatchdogSec=14s' "$file"
  [ "$(cat "$CALLS")" = "systemctl daemon-reexec" ]
  is_idempotent "$script"
  run bash "$script" --seconds 8
  grep -qx 'RuntimeWatchdogSec=8s' "$file"
  run bash "$script" --undo
  [ "$status" -eq 0 ]
  [ ! -e "$file" ]
  is_idempotent "$script" --undo
}

@test "wrong use and other machines are refused in one line" {
  is_refused "is not a whole number from 5 to 15" "$script" --seconds 60
  is_refused "is not a whole number from 5 to 15" "$script" --seconds 08
  is_refused "--seconds needs a value" "$script" --seconds
  is_refused "unknown option" "$script" --now
  FAKE_UID=1000 is_refused "run it with sudo" "$script"
  rm "$QLVIT_EDGE_ROOT/dev/watchdog"
  is_refused "dtparam=watchdog=on" "$script"
}

@test "below an overlay nothing is changed: it would be gone at the next start" {
  echo 'overlayroot / overlay rw,relatime 0 0' >"$QLVIT_EDGE_ROOT/proc/mounts"
  is_refused "overlayroot-chroot" "$script"
}
