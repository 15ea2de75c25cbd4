#!/usr/bin/env bats
# The page is shown on the device's screen from the start.
# shellcheck disable=SC2016,SC2154 # stand-ins are written as they are; variables of device.bash and bats

load device

setup() {
  make_device
  stand_in systemctl 'case "$*" in
  *is-enabled*) [ -e "$STATE/enabled" ] ;;
  get-default) cat "$STATE/default" ;;
  *) echo "systemctl $*" >>"$CALLS"
    case "$*" in *enable*) touch "$STATE/enabled" ;; set-default*) echo "$2" >"$STATE/default" ;; esac ;;
esac'
  echo multi-user.target >"$STATE/default"
  stand_in cage ''
  stand_in chromium ''
  script=$scripts/boot_to_page.sh
  kiosk=$QLVIT_EDGE_ROOT/etc/systemd/system/qlvit-edge-kiosk.service
  page=$QLVIT_EDGE_ROOT/etc/systemd/user/qlvit-edge-page.service
}

is_a_good_unit() { # file; systemd's mode
  local copy=$BATS_TEST_TMPDIR/verify
  mkdir -p "$copy"
  sed 's#=[^ ]*/stubs/chromium#=/bin/true#; s#=/usr/bin/cage#=/bin/true#' "$1" >"$copy/${1##*/}"
  run env PATH=/usr/bin:/bin XDG_RUNTIME_DIR="$copy" systemd-analyze verify --man=no ${2:+"$2"} "$copy/${1##*/}"
  [ "$status" -eq 0 ]
  [ -z "$output" ]
}

@test "without a desktop, one session shows nothing but the page" {
  changes_nothing_dry "$script"
  run bash "$script"
  [ "$status" -eq 0 ]
  [ "$(cat "$CALLS")" = "systemctl enable qlvit-edge-kiosk.service
systemctl set-default graphical.target" ]
  grep -qx 'User=pi' "$kiosk"
  grep -q 'ExecStart=/usr/bin/cage -s -- .*/chromium --kiosk .* http://127.0.0.1:8321/$' "$kiosk"
  grep -q '/dev/tcp/127.0.0.1/8321' "$kiosk"
  [ "$(grep -c '@[A-Z]' "$kiosk")" -eq 0 ]
  is_idempotent "$script"
  run bash "$script" --undo
  [ ! -e "$kiosk" ]
  is_idempotent "$script" --undo
}

@test "with a desktop, whoever is logged in sees the page" {
  run bash "$script" --desktop --url 'https://127.0.0.1:8443/?a=1&b=2'
  [ "$status" -eq 0 ]
  [ "$(cat "$CALLS")" = "systemctl --global enable qlvit-edge-page.service" ]
  grep -qF 'https://127.0.0.1:8443/?a=1&b=2' "$page"
  grep -q '/dev/tcp/127.0.0.1/8443' "$page"
  is_idempotent "$script" --desktop --url 'https://127.0.0.1:8443/?a=1&b=2'
}

@test "systemd has nothing to say about the units" {
  run bash "$script"
  is_a_good_unit "$kiosk" ""
  run bash "$script" --desktop
  is_a_good_unit "$page" --user
}

@test "an address that a unit would read as more is refused" {
  for url in "127.0.0.1" "http://x/%h" "http://x/';reboot" "http://x/ --no-sandbox" $'http://x/\nUser=root' "file:///etc/passwd"; do
    before=$(tree)
    run bash "$script" --url "$url"
    [ "$status" -eq 2 ]
    [[ $output == *"is not an address of a page"* ]]
    [ "$(tree)" = "$before" ]
  done
}

@test "wrong use is refused in one line" {
  SUDO_USER='' is_refused "whose session shows the page is not said" "$script"
  is_refused "there is no user nobody-here" "$script" --user nobody-here
  is_refused "unknown option" "$script" --now
}

@test "what is missing is asked of apt" {
  rm "$BATS_TEST_TMPDIR/stubs/cage"
  if command -v /usr/bin/cage >/dev/null; then skip "cage is installed here"; fi
  run bash "$script"
  [ "$status" -eq 0 ]
  grep -qx 'apt-get install --yes --no-install-recommends cage' "$CALLS"
}
