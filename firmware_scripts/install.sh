#!/usr/bin/env bash
# Make a Raspberry Pi (Raspberry Pi OS Bookworm or Trixie) ready for `qlvit-edge run`.
# It may be run again at any time: what is already there is left alone.
set -euo pipefail

readonly HELP="Usage: sudo ./install.sh [OPTIONS]

Make a Raspberry Pi ready for 'qlvit-edge run'.

Options:
  --wheel FILE   the package, as 'make wheel' builds it; default: the one wheel in
                 dist/ of this checkout or beside this script
  --dry-run      print every command and change nothing; works on any machine
  --user NAME    who will run it (default: the user who called sudo)
  --prefix DIR   where the virtual environment goes (default: /opt/qlvit-edge)
  --data DIR     where results go (default: /var/lib/qlvit-edge)
  --help         show this

Exit code 0: ready; 1: a step failed, run it again; 2: wrong use or not a device for this."

# Where the system describes itself; tests point it elsewhere.
os_release=${OS_RELEASE_FILE:-/etc/os-release}
link=${QLVIT_EDGE_LINK:-/usr/local/bin/qlvit-edge}

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
wheel=
prefix=/opt/qlvit-edge
data=/var/lib/qlvit-edge
user=${SUDO_USER:-}
readonly MARKER=.qlvit-edge # in a prefix that this script made
dry_run=false

refuse() { # what is wrong; what to do
  echo "install.sh: $1; $2" >&2
  exit 2
}

refuse_device() { # why this is no device for it; what to do. A dry run only notes it.
  $dry_run || refuse "$1" "$2"
  echo "note: $1; on it the installation would be refused"
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
  while (($#)); do
    case $1 in
      --help | -h)
        echo "$HELP"
        exit 0
        ;;
      --dry-run) dry_run=true ;;
      --wheel | --user | --prefix | --data)
        [[ -n ${2:-} && $2 != --* ]] || refuse "$1 needs a value" "see --help"
        case $1 in
          --wheel) wheel=$2 ;;
          --user) user=$2 ;;
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
  local folder
  for folder in "$prefix" "$data"; do
    [[ $folder == /* ]] || refuse "$folder is not an absolute path" "start it with /"
  done
}

# Sets: architecture, codename.
check_device() {
  [[ $(uname -s) == Linux ]] || refuse_device "this is $(uname -s)" "run it on Raspberry Pi OS"
  # A 64-bit kernel often carries a 32-bit system: ask the packages, not the kernel.
  architecture=$(dpkg --print-architecture 2>/dev/null || echo "without dpkg")
  case $architecture in
    arm64 | armhf) ;;
    *)
      refuse_device "the system is $architecture" "run it on a Raspberry Pi (arm64 or armhf)"
      architecture=arm64
      ;;
  esac
  codename=$(sed -n 's/^VERSION_CODENAME="\{0,1\}\([a-z]*\)"\{0,1\}$/\1/p' "$os_release" 2>/dev/null) || true
  case $codename in
    bookworm | trixie) ;;
    *)
      refuse_device "the system is '${codename:-unknown}'" "use Raspberry Pi OS Bookworm or Trixie"
      codename=bookworm
      ;;
  esac
  if [[ $architecture == armhf && $codename != bookworm ]]; then
    refuse_device "no 32-bit TensorFlow Lite exists for $codename" "use 64-bit $codename or 32-bit bookworm"
  fi
}

check_python() {
  local version
  version=$(python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null || echo missing)
  case $version in
    3.11 | 3.12 | 3.13) ;;
    missing) refuse_device "python3 is missing" "sudo apt install python3" ;;
    *) refuse_device "python3 is $version" "3.11 to 3.13 is needed: use the system's own python3" ;;
  esac
  if [[ $architecture == armhf && $version != 3.11 ]]; then
    refuse_device "python3 is $version" "the 32-bit runtime needs the system's own 3.11"
  fi
}

# Sets: wheel.
check_wheel() {
  if [[ -z $wheel ]]; then
    local found=()
    shopt -s nullglob
    found=("$here"/../dist/qlvit_edge-*.whl "$here"/qlvit_edge-*.whl)
    shopt -u nullglob
    if ((${#found[@]} == 1)); then
      wheel=${found[0]}
    elif ((${#found[@]})); then
      refuse "there are ${#found[@]} wheels" "name one with --wheel"
    elif $dry_run; then
      wheel=qlvit_edge-VERSION-py3-none-any.whl
      echo "note: no wheel yet; build one with 'make wheel'"
      return
    else
      refuse "there is no wheel" "build one with 'make wheel' and name it with --wheel"
    fi
  fi
  [[ -f $wheel ]] || refuse "$wheel: no such file" "build a wheel with 'make wheel'"
  [[ $wheel == *.whl ]] || refuse "$wheel is not a wheel" "name a file ending in .whl"
}

# What is there and was not made by this script is never replaced.
check_places() {
  if [[ -e $prefix || -L $prefix ]]; then
    [[ -d $prefix ]] || refuse "$prefix is not a folder" "name another with --prefix"
    if [[ ! -e $prefix/$MARKER && -n $(ls -A "$prefix") ]] &&
      ! [[ -f $prefix/installed && -f $prefix/venv/pyvenv.cfg ]]; then
      refuse "$prefix holds other files" "name an empty folder with --prefix"
    fi
  fi
  [[ ! -e $data || -d $data ]] || refuse "$data is not a folder" "name another with --data"
  if [[ -e $link || -L $link ]] && [[ $(readlink "$link" || true) != */venv/bin/qlvit-edge ]]; then
    refuse "$link is not from this script" "move it away"
  fi
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
  [[ -e $prefix/$MARKER ]] || run touch "$prefix/$MARKER"
  if ! [[ -x $prefix/venv/bin/pip ]]; then
    # The system's packages stay visible for picamera2's sake.
    run python3 -m venv --clear --system-site-packages "$prefix/venv"
  fi
}

install_package() {
  local stamp=$prefix/installed identity='' pip=("$prefix/venv/bin/pip" install --quiet)
  [[ ! -f $wheel ]] || identity=$(sha256sum "$wheel" | cut -d ' ' -f 1)
  if [[ -n $identity && -x $prefix/venv/bin/qlvit-edge && $(cat "$stamp" 2>/dev/null) == "$identity" ]]; then
    return
  fi
  # Until all of it is there, nothing says so: a run that is cut short begins again.
  [[ ! -e $stamp ]] || run rm -f "$stamp"
  if [[ $architecture == armhf ]]; then
    # numpy and OpenCV are the system's, older than the package asks for: no dependencies.
    run "${pip[@]}" "click>=8.1" "rich>=13" "pydantic>=2.6" "flatbuffers>=24"
    run "${pip[@]}" --no-deps "tflite-runtime==2.14.0"
  else
    local companions=()
    if [[ $codename == bookworm ]]; then
      # Bookworm's picamera2 is compiled against numpy 1; OpenCV 4.12 wants numpy 2.
      companions=("numpy>=1.26,<2" "opencv-python-headless>=4.9,<4.12")
    fi
    run "${pip[@]}" --upgrade "$wheel" "${companions[@]}"
  fi
  # A rebuilt wheel of the same version is not taken by --upgrade.
  run "${pip[@]}" --no-deps --force-reinstall "$wheel"
  if $dry_run; then
    printf "+ record the wheel's SHA-256 in %q\n" "$stamp"
  else
    printf '%s\n' "$identity" >"$stamp.new"
    run mv "$stamp.new" "$stamp"
  fi
}

make_folders() {
  [[ -d ${link%/*} ]] || run install -d -m 0755 "${link%/*}"
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
  check_user
  check_wheel
  check_places
  install_system_packages
  join_groups
  make_environment
  install_package
  make_folders
  finish
}

main "$@"
