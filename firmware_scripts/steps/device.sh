# shellcheck shell=bash disable=SC2154 # variables of the script that sources it
# What has to be so before anything is changed. To be sourced by install.sh.

readonly MARKER=.qlvit-edge # in a prefix that this script made

refuse_device() { # why this is no device for it; what to do. A dry run only notes it.
  $dry_run || refuse "$1" "$2"
  echo "note: $1; on it the installation would be refused"
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

# The wheels of a target are for one Python: that of its release. Sets: python.
check_python() {
  local needed=3.11
  [[ $codename != trixie ]] || needed=3.13
  python=$(python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null || echo missing)
  case $python in
    "$needed") ;;
    missing) refuse_device "python3 is missing" "sudo apt install python3" ;;
    *) refuse_device "python3 is $python" "$needed is needed: use the system's own python3 of $codename" ;;
  esac
}

check_user() {
  [[ $user != root ]] || user=
  [[ -z $user ]] || id -u "$user" >/dev/null 2>&1 || refuse "there is no user $user" "name one with --user"
  need_root
}

# From where: a wheelhouse, or a wheel and the registry. Sets: wheel, lock.
check_source() {
  if [[ -n $wheelhouse ]]; then
    check_wheelhouse
    return
  fi
  find_wheel
  local folder
  lock=
  for folder in "$here/requirements" "$here/../requirements"; do
    [[ ! -f $folder/device-$codename-$architecture.txt ]] || lock=$folder/device-$codename-$architecture.txt
  done
  if [[ -z $lock ]]; then
    refuse "requirements/device-$codename-$architecture.txt is missing" \
      "copy the folder requirements/ beside this one, or use a wheelhouse"
  fi
}

find_wheel() {
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

# Every file is compared with the sums before any of it is used. Sets: wheelhouse, lock.
check_wheelhouse() {
  local target=$codename-$architecture made
  [[ -f $wheelhouse/SHA256SUMS && -f $wheelhouse/TARGET && -f $wheelhouse/requirements.txt ]] ||
    refuse "$wheelhouse is not a wheelhouse" "build one with 'make wheelhouse TARGET=$target'"
  wheelhouse=$(cd "$wheelhouse" && pwd)
  lock=$wheelhouse/requirements.txt
  made=$(head -c 100 "$wheelhouse/TARGET")
  [[ $made == "$target" ]] ||
    refuse_device "$wheelhouse is for '$made', this is $target" "build one with 'make wheelhouse TARGET=$target'"
  local wrong
  if ! wrong=$(cd "$wheelhouse" && LC_ALL=C sha256sum --check --strict --quiet SHA256SUMS 2>&1); then
    refuse "$wheelhouse is damaged: ${wrong%%$'\n'*}" "copy the folder again"
  fi
  local extra used='.*\(\.\(whl\|conf\|sh\|service\|rules\|toml\)\|/requirements\.txt\)'
  # In an order that does not depend on the language; links are no files and lead elsewhere.
  extra=$(LC_ALL=C comm -13 <(sed 's/^[^ ]* [ *]//' "$wheelhouse/SHA256SUMS" | LC_ALL=C sort) \
    <(cd "$wheelhouse" && find . ! -type d \( -type l -o -regex "$used" \) -printf '%P\n' | LC_ALL=C sort))
  [[ -z $extra ]] ||
    refuse "$wheelhouse holds ${extra%%$'\n'*}, of which its SHA256SUMS says nothing" "copy the folder again"
}

check_keys() {
  local key
  for key in ${keys[@]+"${keys[@]}"}; do
    [[ -f $key ]] || refuse "$key: no such file" "name the public key, NAME.pem"
    ! grep -q 'PRIVATE KEY' "$key" || refuse "$key is a private key" "it stays where models are signed: name its NAME.pem"
    grep -q 'BEGIN PUBLIC KEY' "$key" || refuse "$key is not a public key" "name the public key, NAME.pem"
    [[ $key == *.pem ]] || refuse "$key does not end in .pem" "rename it: its name is how models say who signed them"
  done
}

# Places are written into units and TOML, and one of them is removed as a whole with the program.
# Sets: prefix, data, each without a slash too many.
settle_places() {
  prefix=$root$(settled --prefix "${prefix#"$root"}") || exit
  data=$root$(settled --data "${data#"$root"}") || exit
  if [[ $data/ == "$prefix"/* || $prefix/ == "$data"/* ]]; then
    refuse "$prefix and $data lie in one another" "name two folders apart: the first goes with the program, the second stays"
  fi
}

settled() { # option; path below the root
  local path=$2
  [[ $path == /* ]] || refuse "$path is not an absolute path" "start it with /"
  if [[ $path == *[[:space:][:cntrl:]]* || $path == *[\"\'\\\#\&%\$\;:\`]* ]]; then
    refuse "$path holds a space or a mark that units cannot have" "name another with $1"
  fi
  while [[ $path == *//* ]]; do path=${path//\/\//\/}; done
  path=${path%/}
  case $path/ in
    */../* | */./*) refuse "$path goes by way of . or .." "name the folder itself with $1" ;;
    / | /bin/* | /boot/* | /dev/* | /etc/* | /lib/* | /proc/* | /run/* | /sbin/* | /sys/* | /tmp/* | /usr/bin/* | /usr/lib/*)
      refuse "${path:-/} belongs to the system" "name another with $1"
      ;;
    /home/ | /media/ | /mnt/ | /opt/ | /root/ | /srv/ | /usr/ | /usr/local/ | /var/ | /var/lib/ | /var/log/)
      refuse "$path holds what others put there" "name a folder in it with $1"
      ;;
  esac
  printf '%s\n' "$path"
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
