#!/usr/bin/env bash
# Make a Raspberry Pi (Raspberry Pi OS Bookworm or Trixie) ready for `qlvit-edge run`, as a
# service too. It may be run again at any time: what is already there is left alone.
set -euo pipefail

readonly HELP="Usage: sudo bash install.sh [OPTIONS]

Make a Raspberry Pi ready for 'qlvit-edge run', by hand and as a service.

Options:
  --offline DIR    install from this wheelhouse and use no network; this is the default where
                   the script lies in one ('make wheelhouse')
  --wheel FILE     the package, as 'make wheel' builds it, with what it needs from the registry;
                   default: the one wheel in dist/ of this checkout or beside this script
  --no-picamera2   do without the system's picamera2: USB cameras only
  --user NAME      who will use it (default: the user who called sudo)
  --key FILE       trust this public key (NAME.pem) for models; may be given several times
  --start          start the service now, not only at the next boot
  --prefix DIR     where the virtual environment goes (default: /opt/qlvit-edge)
  --data DIR       where results go (default: /var/lib/qlvit-edge)
  --dry-run        print every command and change nothing; works on any machine
  --uninstall      remove the program and its service; results and configuration stay
  --help           show this

Exit code 0: ready; 1: a step failed, run it again; 2: wrong use or not a device for this."

name=install.sh
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
if [[ ! -f $here/steps/common.sh ]]; then
  echo "$name: $here/steps is missing; copy the folder as a whole, not this file alone" >&2
  exit 2
fi
# shellcheck source=steps/common.sh
source "$here/steps/common.sh"
# shellcheck source=steps/device.sh
source "$here/steps/device.sh"
# shellcheck source=steps/packages.sh
source "$here/steps/packages.sh"
# shellcheck source=steps/environment.sh
source "$here/steps/environment.sh"
# shellcheck source=steps/service.sh
source "$here/steps/service.sh"
# shellcheck source=steps/removal.sh
source "$here/steps/removal.sh"

# Where the system describes itself and takes things from; tests point it elsewhere.
root=${QLVIT_EDGE_ROOT:-}
os_release=${OS_RELEASE_FILE:-$root/etc/os-release}
link=${QLVIT_EDGE_LINK:-$root/usr/local/bin/qlvit-edge}
configuration=$root/etc/qlvit-edge

wheel=
wheelhouse=
prefix=$root/opt/qlvit-edge
data=$root/var/lib/qlvit-edge
user=${SUDO_USER:-}
keys=()
picamera2=true
start=false
uninstall=false

parse() {
  while (($#)); do
    case $1 in
      --help | -h)
        echo "$HELP"
        exit 0
        ;;
      --dry-run) dry_run=true ;;
      --no-picamera2) picamera2=false ;;
      --start) start=true ;;
      --uninstall) uninstall=true ;;
      --wheel | --offline | --user | --key | --prefix | --data)
        need_value "$@"
        case $1 in
          --wheel) wheel=$2 ;;
          --offline) wheelhouse=$2 ;;
          --user) user=$2 ;;
          --key) keys+=("$2") ;;
          --prefix) prefix=$2 ;;
          --data) data=$2 ;;
        esac
        shift
        ;;
      -*) refuse "unknown option $1" "see --help" ;;
      *) refuse "unexpected argument $1" "name a wheel with --wheel" ;;
    esac
    shift
  done
  settle_places
  [[ -z $wheel || -z $wheelhouse ]] || refuse "--wheel and --offline exclude each other" "name one"
  if [[ -z $wheel && -z $wheelhouse && -f $here/TARGET ]]; then
    wheelhouse=$here
  fi
}

main() {
  parse "$@"
  scratch=$(mktemp -d)
  trap 'rm -rf "$scratch"' EXIT
  $dry_run || refuse_overlay
  if $uninstall; then
    need_root
    remove_installation
    return
  fi
  check_device
  check_python
  check_user
  check_keys
  check_source
  check_places
  step "System packages" "see what apt says above; mostly the network, or 'sudo apt update'" \
    install_system_packages
  step "Service user $service_user and its groups" "see above" make_users
  step "Virtual environment and packages" \
    "mostly the network or a full disk ('df -h'); then run it again: the old one is untouched" \
    make_environment
  step "Folders and command" "is the disk full or read-only? 'df -h', 'mount'" make_folders
  step "Rules for cameras and the Coral" "see above" install_rules
  step "Configuration and keys" "see above" install_configuration
  step "Service" "see 'systemctl status $unit'" install_service
  finish "Ready."
  $dry_run || advise
}

main "$@"
