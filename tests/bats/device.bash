# shellcheck shell=bash disable=SC2016,SC2034,SC2154
# A device made of a folder and of stand-ins for the system's commands. For the .bats files here.

make_device() {
  scripts=$BATS_TEST_DIRNAME/../../firmware_scripts
  export STATE=$BATS_TEST_TMPDIR/state QLVIT_EDGE_ROOT="$BATS_TEST_TMPDIR/a root" SUDO_USER=pi
  export CALLS=$STATE/calls PATH=$BATS_TEST_TMPDIR/stubs:/usr/bin:/bin
  mkdir -p "$STATE" "$QLVIT_EDGE_ROOT"/{etc,dev,run/systemd/system,proc,boot/firmware,var/lib} "${PATH%%:*}"
  touch "$CALLS"
  local name
  for name in apt-get update-initramfs systemctl mount umount chown chmod; do
    stand_in "$name" 'echo "${0##*/} $*" >>"$CALLS"'
  done
  stand_in sync ''
  stand_in id 'case "$*" in -u) echo "${FAKE_UID:-0}" ;; *) [ "$2" = pi ] ;; esac'
}

stand_in() { # name; what it does
  printf '#!/bin/bash\n%s\n' "$2" >"$BATS_TEST_TMPDIR/stubs/$1"
  chmod +x "$BATS_TEST_TMPDIR/stubs/$1"
}

tree() { # every path of the device with its times, and every content
  (cd "$QLVIT_EDGE_ROOT" && find . -printf '%p %m %T@ %l\n' | sort && find . -type f -exec sha256sum {} + | sort)
}

is_idempotent() { # script and its options: a second run changes nothing and says so
  local before
  : >"$CALLS"
  before=$(tree)
  run bash "$@"
  [ "$status" -eq 0 ]
  [[ $output == *"Nothing had to be changed."* ]]
  [ "$(tree)" = "$before" ]
  [ ! -s "$CALLS" ]
}

changes_nothing_dry() { # script and its options
  local before
  before=$(tree)
  run bash "$@" --dry-run
  [ "$status" -eq 0 ]
  [[ $output == *"Nothing was changed." ]]
  [ "$(tree)" = "$before" ]
  [ ! -s "$CALLS" ]
}

is_refused() { # what is said; script and its options: one line, and nothing changes
  local said=$1 before
  shift
  before=$(tree)
  run bash "$@"
  [ "$status" -eq 2 ]
  [ "${#lines[@]}" -eq 1 ]
  [[ $output == *"$said"* ]]
  [ "$(tree)" = "$before" ]
}
