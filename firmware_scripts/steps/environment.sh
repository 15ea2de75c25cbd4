# shellcheck shell=bash disable=SC2154 # variables of the script that sources it
# The virtual environment: built beside the one in use, checked, then switched to by one rename.
# A cut or a failure at any moment leaves the old one. To be sourced by install.sh.

# Sets: identity, what the environment is made of.
identify() {
  identity=none
  if [[ -n $wheelhouse ]]; then
    identity=$(sha256sum "$wheelhouse/SHA256SUMS" | cut -c 1-16)
  elif [[ -f $wheel ]]; then
    identity=$(cat "$wheel" "$lock" | sha256sum | cut -c 1-16)
  fi
  identity=$codename-$architecture-python$python-$identity
}

make_environment() {
  identify
  local new=$prefix/environments/$identity
  if [[ -e $new/complete && $(readlink "$prefix/venv") == "environments/$identity" &&
    -x $prefix/venv/bin/qlvit-edge ]]; then
    remove_other_environments
    return
  fi
  make_folder "$prefix"
  [[ -e $prefix/$MARKER ]] || run touch "$prefix/$MARKER"
  make_folder "$prefix/environments"
  if [[ ! -e $new/complete ]]; then
    remove "$new"
    build_environment "$new"
    check_environment "$new"
    remove "$new/pip" # the wheelhouse's
    $dry_run || sync
    run touch "$new/complete"
  fi
  switch_to "environments/$identity"
  remove_other_environments
}

build_environment() { # folder. Sets: pip.
  # The system's packages stay visible for picamera2's sake; ours come first.
  local venv=(python3 -m venv --system-site-packages) source=()
  if [[ -n $wheelhouse ]]; then
    local bundled=("$wheelhouse"/wheels/pip-*.whl)
    run "${venv[@]}" --without-pip "$1"
    run "$1/bin/python" -m zipfile --extract "${bundled[0]}" "$1/pip"
    pip=(env PIP_CONFIG_FILE=/dev/null "$1/bin/python" "$1/pip/pip" --disable-pip-version-check)
    source=(--no-index --find-links "$wheelhouse/wheels")
  else
    run "${venv[@]}" "$1"
    pip=("$1/bin/pip" --disable-pip-version-check)
  fi
  run "${pip[@]}" install --quiet --ignore-installed --no-deps --only-binary :all: "${source[@]}" \
    --require-hashes --requirement "$lock"
  # The lock of a wheelhouse names the package itself too.
  [[ -n $wheelhouse ]] || run "${pip[@]}" install --quiet --ignore-installed --no-deps "$wheel"
}

check_environment() { # folder
  if $dry_run; then
    echo "+ check: pip check, NumPy of the system's major version, picamera2, the runtime"
    return
  fi
  check_requirements
  local major system
  # picamera2's own parts are compiled for the system's NumPy.
  if system=$(python3 -I -c 'import numpy; print(numpy.__version__.split(".")[0])' 2>/dev/null); then
    major=$("$1/bin/python" -I -c 'import numpy; print(numpy.__version__.split(".")[0])') ||
      fail "NumPy cannot be imported from $1" "see above"
    [[ $major == "$system" ]] ||
      fail "the packages bring NumPy $major, the system's picamera2 is built for NumPy $system" \
        "use the wheelhouse or lock file of this system ($codename-$architecture)"
  fi
  if $picamera2 && installed python3-picamera2; then
    "$1/bin/python" -I -c 'import picamera2' ||
      fail "picamera2 cannot be imported from $1" \
        "'sudo apt install --reinstall python3-picamera2', or --no-picamera2 for USB cameras only"
  fi
  # An older runtime would compute some convolutions wrongly.
  local said refused
  said=$("$1/bin/qlvit-edge" --version) || fail "qlvit-edge does not start" "see above"
  refused=$(sed -n 's/^refused: //p' <<<"$said")
  [[ -z $refused ]] || fail "$refused" "use another wheelhouse or lock file"
}

# `pip check` looks at the system's packages too: only ours are judged. On 32 bits NumPy and
# OpenCV are the system's, older than the package asks for, and the runtime is another one.
check_requirements() {
  local said line package
  said=$("${pip[@]}" check 2>&1) && return
  while IFS= read -r line; do
    package=${line%% *}
    package=${package//_/-}
    if [[ $package != qlvit-edge ]] && ! grep -qi "^$package==" "$lock"; then
      continue
    fi
    if [[ $architecture == armhf && $line =~ ^(qlvit-edge|qlvit_edge)\ .*(numpy|opencv|ai-edge-litert) ]]; then
      continue
    fi
    fail "$line" "use a wheelhouse or lock file that is whole"
  done <<<"$said"
}

switch_to() { # environment, relative to the prefix
  if [[ -d $prefix/venv && ! -L $prefix/venv ]]; then
    run mv "$prefix/venv" "$prefix/environments/before" # as earlier versions made it
  fi
  run ln -sfn "$1" "$prefix/venv.part"
  run mv -fT "$prefix/venv.part" "$prefix/venv"
}

remove_other_environments() {
  local folder
  for folder in "$prefix"/environments/*; do
    [[ $folder == "$prefix/environments/$identity" || ! -d $folder ]] || remove "$folder"
  done
  remove "$prefix/installed" "$prefix/installed.new" # of earlier versions
}
