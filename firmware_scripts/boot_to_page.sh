#!/usr/bin/env bash
# Show the page of the run on the device's own screen from the start: no desktop is needed (cage
# shows one program, the browser), or, with --desktop, it opens in the desktop that is there.
set -euo pipefail

readonly HELP="Usage: sudo bash boot_to_page.sh [OPTIONS]

Show the page of 'qlvit-edge run --serve' on the device's screen when it starts.

Options:
  --user NAME   whose session shows it, without --desktop (default: the user who called sudo)
  --desktop     open it in the desktop of whoever is logged in, instead of in a session of its own
  --url URL     the page (default: http://127.0.0.1:8321/)
  --dry-run     print every command and change nothing
  --undo        show it no more
  --help        show this

Exit code 0: done; 1: a step failed, run it again; 2: wrong use or not a device for this."

name=boot_to_page.sh
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=steps/common.sh
source "$here/steps/common.sh"

root=${QLVIT_EDGE_ROOT:-}
kiosk=$root/etc/systemd/system/qlvit-edge-kiosk.service
page=$root/etc/systemd/user/qlvit-edge-page.service
user=${SUDO_USER:-}
url=http://127.0.0.1:8321/
desktop=false
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
      --desktop) desktop=true ;;
      --user | --url)
        need_value "$@"
        if [[ $1 == --user ]]; then user=$2; else url=$2; fi
        shift
        ;;
      *) refuse "unknown option $1" "see --help" ;;
    esac
    shift
  done
  # It goes into a unit: nothing that systemd or a shell would read as more than an address.
  [[ $url =~ ^https?://([A-Za-z0-9.-]+)(:([0-9]{1,5}))?(/[A-Za-z0-9/._~?=\&-]*)?$ ]] ||
    refuse "--url $url is not an address of a page" "such as http://127.0.0.1:8321/"
  host=${BASH_REMATCH[1]}
  port=${BASH_REMATCH[3]:-80}
  [[ $url != https:* || -n ${BASH_REMATCH[3]} ]] || port=443
}

check_user() {
  $desktop && return
  [[ -n $user && $user != root ]] || refuse "whose session shows the page is not said" "name a user with --user"
  id -u "$user" >/dev/null 2>&1 || refuse "there is no user $user" "name one with --user"
}

# Sets: browser. Releases name it differently.
install_browser() {
  local packages=()
  browser=$(command -v chromium || command -v chromium-browser) || true
  [[ -n $browser ]] || packages+=(chromium)
  $desktop || command -v cage >/dev/null || packages+=(cage)
  if ((${#packages[@]})); then
    run apt-get update
    run env DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends "${packages[@]}"
  fi
  browser=${browser:-/usr/bin/chromium}
}

filled() { # the unit beside this script
  sed -e "/^# /d; s#@USER@#$user#; s#@BROWSER@#$browser#; s#@HOST@#$host#; s#@PORT@#$port#" \
    -e "s#@URL@#${url//&/\\&}#" "$here/$1"
}

show_kiosk() {
  make_folder "${kiosk%/*}"
  write "$(filled qlvit-edge-kiosk.service)" "$kiosk"
  systemctl is-enabled --quiet qlvit-edge-kiosk.service 2>/dev/null || run systemctl enable qlvit-edge-kiosk.service
  [[ $(systemctl get-default) == graphical.target ]] || run systemctl set-default graphical.target
}

show_page() {
  make_folder "${page%/*}"
  write "$(filled qlvit-edge-page.service)" "$page"
  systemctl --global is-enabled --quiet qlvit-edge-page.service 2>/dev/null ||
    run systemctl --global enable qlvit-edge-page.service
}

show_no_more() {
  if [[ -f $kiosk ]]; then
    run systemctl disable qlvit-edge-kiosk.service
    remove "$kiosk"
  fi
  if [[ -f $page ]]; then
    run systemctl --global disable qlvit-edge-page.service
    remove "$page"
  fi
}

main() {
  parse "$@"
  need_root
  $dry_run || refuse_overlay
  if $undo; then
    step "The page at the start" "see above" show_no_more
    finish "The page is not shown any more after the next start."
    return
  fi
  check_user
  step "Browser" "see what apt says above; mostly the network" install_browser
  if $desktop; then
    step "The page in the desktop" "see above" show_page
  else
    step "The page on the screen" "see above" show_kiosk
  fi
  finish "The page is shown after the next start ('sudo reboot'); the run has to serve it ('serve' in /etc/qlvit-edge/run.toml)."
}

main "$@"
