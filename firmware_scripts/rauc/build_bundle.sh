#!/usr/bin/env bash
# Build a RAUC bundle of the application and a model, on the workstation: what a device with two
# application partitions takes as one signed file and switches to as one.
set -euo pipefail

readonly HELP="Usage: bash build_bundle.sh --wheelhouse DIR --model FILE --cert FILE --key FILE --out FILE

Build, sign and inspect a RAUC bundle of application and model.

Options:
  --wheelhouse DIR   as 'make wheelhouse' builds it; it says for which system the bundle is
  --model FILE       a signed model, as 'qlvit-edge models sign' writes it (.qlvit)
  --cert FILE        certificate of who signs the bundle (PEM)
  --key FILE         its key (PEM); it stays on the workstation
  --keyring FILE     what the devices trust (default: the certificate itself)
  --out FILE         the bundle to write (.raucb)
  --help             show this

Needs rauc, squashfs-tools and python3 with pip. Exit code 0: done; 1: a step failed; 2: wrong use."

name=build_bundle.sh
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=../steps/common.sh
source "$here/../steps/common.sh"

wheelhouse=
model=
cert=
key=
keyring=
out=

parse() {
  while (($#)); do
    case $1 in
      --help | -h)
        echo "$HELP"
        exit 0
        ;;
      --wheelhouse | --model | --cert | --key | --keyring | --out)
        need_value "$@"
        printf -v "${1#--}" '%s' "$2"
        shift
        ;;
      *) refuse "unknown option $1" "see --help" ;;
    esac
    shift
  done
  local option
  for option in wheelhouse model cert key out; do
    [[ -n ${!option} ]] || refuse "--$option is missing" "see --help"
  done
  keyring=${keyring:-$cert}
  for option in model cert key keyring; do
    [[ -f ${!option} ]] || refuse "${!option}: no such file" "name another with --$option"
  done
  [[ $model == *.qlvit ]] || refuse "$model is not a signed model" "sign one with 'qlvit-edge models sign'"
  [[ -f $wheelhouse/TARGET ]] || refuse "$wheelhouse is not a wheelhouse" "build one with 'make wheelhouse'"
  [[ ! -e $out ]] || refuse "$out exists already" "name another with --out"
  local tool
  for tool in rauc mksquashfs python3; do
    command -v "$tool" >/dev/null || refuse "$tool is not installed" "sudo apt install rauc squashfs-tools python3"
  done
}

# The same input gives the same archive: times and owners say nothing.
pack() { # folder; archive
  tar --create --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner \
    --directory "$1" . | gzip --no-name >"$2"
}

write_manifest() { # folder
  local wheels=("$wheelhouse"/wheels/qlvit_edge-*.whl) version
  version=$(basename "${wheels[0]}" | cut -d - -f 2)
  sed "s/@TARGET@/$(cat "$wheelhouse/TARGET")/; s/@VERSION@/$version/" "$here/manifest.raucm.in" >"$1/manifest.raucm"
}

main() {
  parse "$@"
  local scratch content
  scratch=$(mktemp -d)
  # shellcheck disable=SC2064 # the folder of now
  trap "rm -rf '$scratch' '$out.part'" EXIT
  content=$scratch/content
  mkdir "$content"
  "${PYTHON:-python3}" "$here/../application.py" "$wheelhouse" --out "$scratch/application" ||
    fail "the application cannot be laid out" "see above"
  install -D -m 0644 "$model" "$scratch/application/model.qlvit"
  pack "$scratch/application" "$content/application.tar.gz"
  write_manifest "$content"
  local said
  if ! said=$(rauc bundle --cert "$cert" --key "$key" --signing-keyring "$keyring" "$content" "$scratch/bundle.raucb" 2>&1); then
    fail "rauc: ${said##*$'\n'}" "do certificate, key and keyring belong together?"
  fi
  # What was written is read again, as a device would: signature first, then every block.
  if ! said=$(rauc extract --keyring "$keyring" "$scratch/bundle.raucb" "$scratch/read" 2>&1) ||
    ! cmp -s "$content/application.tar.gz" "$scratch/read/application.tar.gz"; then
    fail "the bundle cannot be read back: ${said##*$'\n'}" "is the disk full?"
  fi
  cp "$scratch/bundle.raucb" "$out.part"
  mv "$out.part" "$out"
  rauc info --keyring "$keyring" "$out" 2>/dev/null | sed -n '/^Compatible\|^Version\|Filename\|Size\|Checksum/p'
}

main "$@"
