# shellcheck shell=bash disable=SC2154 # variables of the script that sources it
# What the system has to know: folders, rules, configuration, units. To be sourced by install.sh.

readonly service_user=qlvit-edge unit=qlvit-edge.service

make_folders() {
  make_folder "${link%/*}"
  [[ $(readlink "$link" 2>/dev/null) == "$prefix/venv/bin/qlvit-edge" ]] ||
    run ln -sfn "$prefix/venv/bin/qlvit-edge" "$link"
  local folder
  for folder in "$data" "$data/models"; do
    [[ -d $folder ]] || run install -d -m 0750 -o "$service_user" -g "$service_user" "$folder"
  done
  make_folder "$configuration"
  make_folder "$configuration/keys"
  # For whoever installs models by hand: the service is told by its unit.
  local record=$configuration/store results=${data#"$root"}
  if [[ $results != /var/lib/qlvit-edge ]]; then
    write "$results/models" "$record"
  else
    remove "$record"
  fi
}

install_rules() {
  local before=$changes
  place "$here/60-qlvit-edge.rules" "$root/etc/udev/rules.d/60-qlvit-edge.rules" 644 root:root
  if ((changes > before)) && [[ -e $root/run/udev/control ]]; then
    run udevadm control --reload
    run udevadm trigger --subsystem-match=usb --subsystem-match=video4linux
  fi
}

install_configuration() {
  local key
  for key in ${keys[@]+"${keys[@]}"}; do
    place "$key" "$configuration/keys/${key##*/}" 644 root:root
  done
  if [[ ! -f $here/run.toml ]]; then
    echo "   note: there is no run.toml beside this script: the configuration is left to you"
    return
  fi
  local file=$configuration/run.toml record=$prefix/run.toml.sha256 ours=false source shipped
  source=$(localised run.toml)
  shipped=$(sha256sum "$source" | cut -d ' ' -f 1)
  if [[ ! -e $file ]]; then
    ours=true
  elif [[ $(sha256sum "$file" | cut -d ' ' -f 1) == "$(cat "$record" 2>/dev/null)" ]]; then
    ours=true # as this script wrote it
  fi
  if $ours || cmp -s "$source" "$file"; then
    place "$source" "$file" 640 "root:$service_user"
  elif [[ $shipped != "$(cat "$record" 2>/dev/null)" ]]; then
    echo "   $file was edited and is kept; the new one lies beside it as run.toml.new"
    place "$source" "$file.new" 640 "root:$service_user"
  else
    echo "   $file was edited and is kept"
  fi
  write "$shipped" "$record"
}

# Sets: systemd, the version as a number (0: unknown).
systemd_version() {
  systemd=$(systemctl --version 2>/dev/null | sed -n '1s/^systemd \([0-9]*\).*/\1/p') || true
  systemd=${systemd:-0}
}

# Prints where a file beside this script lies, as this device needs it: with its own places.
localised() { # name
  local at=${prefix#"$root"} results=${data#"$root"}
  if [[ $at == /opt/qlvit-edge && $results == /var/lib/qlvit-edge ]]; then
    printf '%s\n' "$here/$1"
    return
  fi
  sed "s#/opt/qlvit-edge/#$at/#g; s#/var/lib/qlvit-edge#$results#g
    /^\[Service\]/a ReadWritePaths=$results\nEnvironment=QLVIT_EDGE_STORE=$results/models" \
    "$here/$1" >"$scratch/$1"
  printf '%s\n' "$scratch/$1"
}

# Units and their drop-ins, as they lie beside this script: pairs "source target".
service_files() {
  local units=$root/etc/systemd/system file
  shopt -s nullglob
  printf '%s\t%s\n' "$(localised "$unit")" "$units/$unit"
  for file in "$here/$unit.d"/*.conf; do
    # Restarts that wait longer and longer are known to systemd from 254 on.
    if ((systemd >= 254)) || [[ $(<"$file") != *RestartSteps=* ]]; then
      printf '%s\t%s\n' "$file" "$units/${file#"$here/"}"
    fi
  done
  for file in "$here/journald.conf.d"/*.conf; do
    printf '%s\t%s\n' "$file" "$root/etc/systemd/journald.conf.d/${file##*/}"
  done
  shopt -u nullglob
}

install_service() {
  if [[ ! -f $here/$unit ]]; then
    echo "   note: there is no $unit beside this script: no service"
    return
  fi
  local before=$changes source target
  systemd_version
  while IFS=$'\t' read -r source target; do
    place "$source" "$target" 644 root:root
  done < <(service_files)
  if ((changes > before)) && booted; then
    run systemctl daemon-reload
    [[ ! -d $here/journald.conf.d ]] || run systemctl try-restart systemd-journald.service
  fi
  systemctl is-enabled --quiet "$unit" 2>/dev/null || run systemctl enable "$unit"
  if booted && systemctl is-active --quiet "$unit"; then
    ((changes == 0)) || run systemctl try-restart "$unit"
  elif $start; then
    run systemctl start "$unit"
  fi
}

advise() {
  [[ -z $user ]] || echo "Log in again as $user if it was just added to a group. Then:"
  echo "  qlvit-edge doctor blood-nano                  # is the device fit?"
  echo "  qlvit-edge run blood-nano --camera usb:0 --out results.sqlite"
  [[ ! -f $here/$unit ]] || echo "As a service: edit $configuration/run.toml, then 'sudo systemctl start qlvit-edge'."
}
