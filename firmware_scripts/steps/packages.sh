# shellcheck shell=bash disable=SC2154 # variables of the script that sources it
# What the system itself provides. To be sourced by install.sh.

installed() {
  [[ $(dpkg-query -W -f '${Status}' "$1" 2>/dev/null) == "install ok installed" ]]
}

install_system_packages() {
  # picamera2 and libcamera belong together and come from the system only.
  local wanted=() missing=() package
  ! $picamera2 || wanted+=(python3-picamera2)
  if [[ $architecture == armhf ]]; then
    wanted+=(python3-numpy python3-opencv python3-cryptography) # no 32-bit wheels of these
  fi
  # A wheelhouse brings its own pip.
  [[ -n $wheelhouse ]] || wanted+=(python3-venv)
  for package in ${wanted[@]+"${wanted[@]}"}; do
    installed "$package" || missing+=("$package")
  done
  ((${#missing[@]})) || return 0
  if [[ -z $wheelhouse ]]; then
    run apt-get update
    run env DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends \
      "${missing[@]}"
    return
  fi
  for package in "${missing[@]}"; do
    case $package in
      python3-picamera2)
        echo "   note: python3-picamera2 is not installed: USB cameras only, until 'sudo apt install python3-picamera2'"
        ;;
      *) refuse_device "$package is not installed and has no wheel for armhf" "sudo apt install ${missing[*]}, with a network" ;;
    esac
  done
}

# The service's user has no password and no shell; the person joins its group to read results.
make_users() {
  local group
  for group in video plugdev render; do
    getent group "$group" >/dev/null || run groupadd --system "$group"
  done
  id -u "$service_user" >/dev/null 2>&1 ||
    run useradd --system --user-group --home-dir "$data" --no-create-home \
      --shell /usr/sbin/nologin "$service_user"
  join "$service_user" video plugdev render
  [[ -z $user ]] || join "$user" video plugdev "$service_user"
}

join() { # user; groups
  local who=$1 group has missing=()
  shift
  has=" $(id -nG "$who" 2>/dev/null || true) "
  for group in "$@"; do
    [[ $has == *" $group "* ]] || missing+=("$group")
  done
  ((${#missing[@]})) || return 0
  run usermod --append --groups "$(IFS=,; echo "${missing[*]}")" "$who"
}
