# shellcheck shell=bash disable=SC2154 # variables of the script that sources it
# Taking it all away but what people made: results, models, configuration. To be sourced by install.sh.

remove_installation() {
  if [[ -e $prefix && ! -e $prefix/$MARKER && -n $(ls -A "$prefix" 2>/dev/null) ]]; then
    refuse "$prefix is not from this script" "name the right folder with --prefix"
  fi
  if [[ -e $link || -L $link ]] && [[ $(readlink "$link" || true) != "$prefix/venv/bin/qlvit-edge" ]]; then
    refuse "$link belongs to another installation" "name its folder with --prefix"
  fi
  step "Service" "see 'systemctl status $unit'" remove_service
  step "Rules for cameras and the Coral" "see above" remove_rules
  step "Program and its environment" "see above" remove \
    "$link" "$prefix"
  finish "Removed."
  left_behind
}

remove_service() {
  local units=$root/etc/systemd/system before=$changes file
  if [[ -f $units/$unit ]]; then
    booted && systemctl is-active --quiet "$unit" && run systemctl stop "$unit"
    ! systemctl is-enabled --quiet "$unit" 2>/dev/null || run systemctl disable "$unit"
  fi
  remove "$units/$unit" "$units/$unit.d"
  shopt -s nullglob
  for file in "$here/journald.conf.d"/*.conf; do
    remove "$root/etc/systemd/journald.conf.d/${file##*/}"
  done
  shopt -u nullglob
  if ((changes > before)) && booted; then
    run systemctl daemon-reload
  fi
}

remove_rules() {
  local before=$changes
  remove "$root/etc/udev/rules.d/60-qlvit-edge.rules"
  if ((changes > before)) && [[ -e $root/run/udev/control ]]; then
    run udevadm control --reload
  fi
}

left_behind() {
  local path found=()
  for path in "$data" "$configuration"; do
    [[ ! -e $path ]] || found+=("$path")
  done
  if ((${#found[@]})); then
    echo "Left, because people's work is in it: ${found[*]}"
    printf 'Remove it by hand if nobody needs it: sudo rm -r'
    printf ' %q' "${found[@]}"
    printf '\n'
  fi
  ! id -u "$service_user" >/dev/null 2>&1 ||
    echo "The user $service_user stays, since these files are its own: sudo userdel $service_user"
}
