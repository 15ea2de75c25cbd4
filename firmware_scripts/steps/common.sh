# shellcheck shell=bash
# What every script here says, refuses and changes with. To be sourced; the script sets `name`.

changes=0 # commands that changed something, or would have
remedy="look at the lines above, then run it again"
dry_run=${dry_run:-false}

refuse() { # what is wrong; what to do
  echo "${name:?}: $1; $2" >&2
  exit 2
}

fail() { # what is wrong; what to do
  echo "${name:?}: $1; $2" >&2
  exit 1
}

need_value() { # option; the next argument
  [[ -n ${2:-} && $2 != --* ]] || refuse "$1 needs a value" "see --help"
}

need_root() {
  if ! $dry_run && [[ $(id -u) != 0 ]]; then
    refuse "it has to change the system" "run it with sudo, or with --dry-run"
  fi
}

run() { # a command that changes something
  changes=$((changes + 1))
  printf '+'
  printf ' %q' "$@"
  printf '\n'
  $dry_run || "$@" || fail "failed: $*" "$remedy"
}

step() { # title; what to do if it fails; function and its arguments
  local before=$changes
  echo "== $1"
  remedy=$2
  shift 2
  "$@"
  ((changes > before)) || echo "   nothing to do"
}

# Owners are compared too, so a second run finds nothing to do.
place() { # source; target; mode; owner:group
  local wanted="$3 $4"
  [[ ! -d $2 ]] || refuse "$2 is a folder" "move it away"
  if [[ -f $2 ]] && cmp -s "$1" "$2" && [[ $(stat -c '%a %U:%G' "$2") == "$wanted" ]]; then
    return
  fi
  run install -D -m "$3" -o "${4%:*}" -g "${4#*:}" "$1" "$2.part"
  run mv -f "$2.part" "$2"
}

make_folder() {
  [[ -d $1 ]] || run install -d -m 0755 "$1"
}

write() { # text; file, which gets it unless it has it already
  if [[ -f $2 && $(<"$2") == "$1" ]]; then
    return
  fi
  changes=$((changes + 1))
  printf '+ write %q:\n' "$2"
  printf '%s\n' "$1" | sed 's/^/    /'
  if ! $dry_run && ! { printf '%s\n' "$1" >"$2.part" && mv -f "$2.part" "$2"; }; then
    fail "$2 cannot be written" "$remedy"
  fi
}

remove() { # files or folders that may be there
  local path
  for path in "$@"; do
    if [[ -e $path || -L $path ]]; then
      run rm -rf -- "$path"
    fi
  done
}

# What is changed above an overlay is gone at the next start.
refuse_overlay() {
  if grep -qs '^overlayroot / overlay ' "${root:-}/proc/mounts"; then
    refuse "the root is read-only, changes would be gone at the next start" \
      "run it within 'sudo overlayroot-chroot', or after 'read_only_root.sh --undo'"
  fi
}

booted() { # with systemd as its first process
  [[ -d ${root:-}/run/systemd/system ]]
}

finish() { # what it is ready for
  if $dry_run; then
    echo "Nothing was changed."
  elif ((changes)); then
    sync
    echo "$1"
  else
    echo "Nothing had to be changed."
  fi
}
