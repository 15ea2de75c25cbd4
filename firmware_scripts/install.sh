#!/usr/bin/env bash
# Make a Raspberry Pi (Raspberry Pi OS Bookworm or Trixie) ready for `qlvit-edge run`.
# It may be run again at any time: what is already there is left alone.
set -euo pipefail

readonly HELP="Usage: sudo ./install.sh [OPTIONS] [PACKAGE]

Make a Raspberry Pi ready for 'qlvit-edge run'.

PACKAGE          a wheel (./qlvit_edge-0.1.0-py3-none-any.whl) or a name for pip
                 (qlvit-edge==0.1.0); default: qlvit-edge

Options:
  --dry-run      print every command and change nothing
  --user NAME    who will run it (default: the user who called sudo)
  --prefix DIR   where the virtual environment goes (default: /opt/qlvit-edge)
  --data DIR     where results go (default: /var/lib/qlvit-edge)
  --help         show this

Exit code 0: ready; 1: a step failed, run it again; 2: wrong use or not a device for this."

# Where the system describes itself; tests point it elsewhere.
os_release=${OS_RELEASE_FILE:-/etc/os-release}
link=${QLVIT_EDGE_LINK:-/usr/local/bin/qlvit-edge}

package=qlvit-edge
prefix=/opt/qlvit-edge
data=/var/lib/qlvit-edge
user=${SUDO_USER:-}
dry_run=false

refuse() { # what is wrong; what to do
  echo "install.sh: $1; $2" >&2
  exit 2
}

run() { # a command that changes something
  if $dry_run; then
    printf '+'
    printf ' %q' "$@"
    printf '\n'
  elif ! "$@"; then
    echo "install.sh: failed: $*; look at the lines above, then run it again" >&2
    exit 1
  fi
}

parse() {
  local given=false
  while (($#)); do
    case $1 in
      --help | -h)
        echo "$HELP"
        exit 0
        ;;
      --dry-run) dry_run=true ;;
      --user | --prefix | --data)
        [[ -n ${2:-} ]] || refuse "$1 needs a value" "see --help"
        case $1 in
          --user) user=$2 ;;
          --prefix) prefix=$2 ;;
          --data) data=$2 ;;
        esac
        shift
        ;;
      -*) refuse "unknown option $1" "see --help" ;;
      *)
        ! $given || refuse "more than one package: $1" "see --help"
        package=$1
        given=true
        ;;
    esac
    shift
  done
  local folder
  for folder in "$prefix" "$data"; do
    [[ $folder == /* ]] || refuse "$folder is not an absolute path" "start it with /"
  done
}

# Sets: architecture, codename.
check_device() {
  [[ $(uname -s) == Linux ]] || refuse "this is $(uname -s)" "run it on Raspberry Pi OS"
  command -v dpkg >/dev/null || refuse "dpkg is missing" "run it on Raspberry Pi OS"
  # A 64-bit kernel often carries a 32-bit system: ask the packages, not the kernel.
  architecture=$(dpkg --print-architecture)
  case $architecture in
    arm64 | armhf) ;;
    *) refuse "the system is $architecture" "run it on a Raspberry Pi (arm64 or armhf)" ;;
  esac
  [[ -r $os_release ]] || refuse "$os_release cannot be read" "run it on Raspberry Pi OS"
  codename=$(sed -n 's/^VERSION_CODENAME="\{0,1\}\([a-z]*\)"\{0,1\}$/\1/p' "$os_release")
  case $codename in
    bookworm | trixie) ;;
    *) refuse "the system is '${codename:-unknown}'" "use Raspberry Pi OS Bookworm or Trixie" ;;
  esac
  if [[ $architecture == armhf && $codename != bookworm ]]; then
    refuse "no 32-bit TensorFlow Lite exists for $codename" "use 64-bit $codename or 32-bit bookworm"
  fi
}

check_python() {
  command -v python3 >/dev/null || refuse "python3 is missing" "sudo apt install python3"
  local version
  version=$(python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')
  case $version in
    3.11 | 3.12 | 3.13) ;;
    *) refuse "python3 is $version" "3.11 to 3.13 is needed: use the system's own python3" ;;
  esac
  if [[ $architecture == armhf && $version != 3.11 ]]; then
    refuse "python3 is $version" "the 32-bit runtime needs the system's own 3.11"
  fi
}

check_package() {
  case $package in
    *.whl | */*)
      [[ -f $package ]] || refuse "$package: no such file" "name a wheel"
      [[ $package == *.whl ]] || refuse "$package is not a wheel" "name a file ending in .whl"
      ;;
    *)
      [[ $package =~ ^[A-Za-z0-9][A-Za-z0-9._-]*(==[A-Za-z0-9.+!]+)?$ ]] ||
        refuse "$package is not a package's name" "name a wheel, or a name like qlvit-edge==0.1.0"
      ;;
  esac
}

check_user() {
  user=${user:-$(id -un)}
  id -u "$user" >/dev/null 2>&1 || refuse "there is no user $user" "name one with --user"
  if ! $dry_run && [[ $(id -u) != 0 ]]; then
    refuse "it has to change the system" "run it with sudo, or with --dry-run"
  fi
}

installed() {
  [[ $(dpkg-query -W -f '${Status}' "$1" 2>/dev/null) == "install ok installed" ]]
}

install_system_packages() {
  # picamera2 and libcamera belong together and come from the system only.
  local wanted=(python3-venv python3-picamera2) missing=() name
  if [[ $architecture == armhf ]]; then
    wanted+=(python3-numpy python3-opencv) # no 32-bit wheels
  fi
  for name in "${wanted[@]}"; do
    installed "$name" || missing+=("$name")
  done
  if ((${#missing[@]})); then
    run apt-get update
    run env DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends \
      "${missing[@]}"
  fi
}

join_groups() {
  [[ " $(id -nG "$user") " == *" video "* ]] || run usermod --append --groups video "$user"
}

make_environment() {
  [[ -d $prefix ]] || run install -d -m 0755 "$prefix"
  if ! [[ -x $prefix/venv/bin/pip ]]; then
    # The system's packages stay visible for picamera2's sake.
    run python3 -m venv --clear --system-site-packages "$prefix/venv"
  fi
}

install_package() {
  local stamp=$prefix/installed identity pip=("$prefix/venv/bin/pip" install --quiet)
  if [[ $package == *.whl ]]; then
    identity=$(sha256sum "$package" | cut -d ' ' -f 1)
  else
    identity=$package
  fi
  if [[ $package == *.whl || $package == *==* ]] &&
    [[ -x $prefix/venv/bin/qlvit-edge && $(cat "$stamp" 2>/dev/null) == "$identity" ]]; then
    return
  fi
  if [[ $architecture == armhf ]]; then
    # numpy and OpenCV are the system's, older than the package asks for: no dependencies.
    run "${pip[@]}" "click>=8.1" "rich>=13" "pydantic>=2.6" "flatbuffers>=24"
    run "${pip[@]}" --no-deps "tflite-runtime==2.14.0"
    run "${pip[@]}" --no-deps --upgrade --force-reinstall "$package"
  else
    local companions=()
    if [[ $codename == bookworm ]]; then
      # Bookworm's picamera2 is compiled against numpy 1; OpenCV 4.12 wants numpy 2.
      companions=("numpy>=1.26,<2" "opencv-python-headless>=4.9,<4.12")
    fi
    run "${pip[@]}" --upgrade "$package" "${companions[@]}"
    if [[ $package == *.whl ]]; then
      # A rebuilt wheel of the same version is not taken by --upgrade.
      run "${pip[@]}" --no-deps --force-reinstall "$package"
    fi
  fi
  run tee "$stamp" <<<"$identity" >"$($dry_run && echo /dev/stdout || echo /dev/null)"
}

make_folders() {
  [[ -d $data ]] || run install -d -m 0750 -o "$user" -g "$(id -gn "$user")" "$data"
  [[ $(readlink "$link" 2>/dev/null) == "$prefix/venv/bin/qlvit-edge" ]] ||
    run ln -sfn "$prefix/venv/bin/qlvit-edge" "$link"
}

finish() {
  run "$prefix/venv/bin/qlvit-edge" --version
  if $dry_run; then
    echo "Nothing was changed."
    return
  fi
  # An older runtime that pip left in place would compute some convolutions wrongly.
  local refused
  refused=$("$prefix/venv/bin/qlvit-edge" --version | sed -n 's/^refused: //p')
  if [[ -n $refused ]]; then
    echo "install.sh: $refused; use $prefix/venv/bin/pip, then run it again" >&2
    exit 1
  fi
  echo "Ready. Log in again if you were just added to the group video, then, as $user:"
  echo "  qlvit-edge run model.tflite --camera picamera2 --out $data/results.sqlite"
}

main() {
  parse "$@"
  check_device
  check_python
  check_package
  check_user
  install_system_packages
  join_groups
  make_environment
  install_package
  make_folders
  finish
}

main "$@"
