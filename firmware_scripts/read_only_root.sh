#!/usr/bin/env bash
# A device whose power may be cut at any moment: its system is read-only below an overlay in
# memory, and results and models lie on a partition of their own with a journal.
set -euo pipefail

readonly HELP="Usage: sudo bash read_only_root.sh --data PARTITION [OPTIONS]

Make the system read-only and keep results and models on a partition of their own.

Options:
  --data PARTITION   such as /dev/sda1: an ext4 partition. It is never formatted; what lies in
                     /var/lib/qlvit-edge is copied to it if it is empty
  --dry-run          print every command and change nothing
  --undo             make the system writable again; the partition stays where it is
  --help             show this

Exit code 0: done, restart the device; 1: a step failed, run it again; 2: wrong use or not a
device for this."

name=read_only_root.sh
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=steps/common.sh
source "$here/steps/common.sh"

root=${QLVIT_EDGE_ROOT:-}
fstab=$root/etc/fstab
overlay=$root/etc/overlayroot.local.conf
journal=$root/etc/systemd/journald.conf.d/60-qlvit-edge-volatile.conf
drop_in=$root/etc/systemd/system/qlvit-edge.service.d/data-partition.conf
cmdline=$root/boot/firmware/cmdline.txt
data=$root/var/lib/qlvit-edge
readonly MARK='# by read_only_root.sh'
partition=
undo=false

parse() {
  while (($#)); do
    case $1 in
      --help | -h)
        echo "$HELP"
        exit 0
        ;;
      --dry-run) dry_run=true ;;
      --undo) undo=true ;;
      --data)
        need_value "$@"
        partition=$2
        shift
        ;;
      *) refuse "unknown option $1" "see --help" ;;
    esac
    shift
  done
  $undo || [[ -n $partition ]] || refuse "the partition for data is not named" "use --data, see --help"
}

# Sets: uuid.
check_partition() {
  local kind at
  [[ -e $partition ]] || refuse "$partition: no such partition" "'lsblk' lists them"
  kind=$(blkid -s TYPE -o value "$partition" 2>/dev/null || true)
  [[ $kind == ext4 ]] ||
    refuse "$partition holds ${kind:-no file system}, ext4 is needed" "'sudo mkfs.ext4 -L qlvit-data $partition' makes it one and deletes all that is on it"
  uuid=$(blkid -s UUID -o value "$partition")
  at=$(findmnt -n -o TARGET --source "$partition" | head -n 1 || true)
  [[ -z $at || $at == "${data#"$root"}" || $at == "$data" ]] ||
    refuse "$partition is mounted at $at" "name a partition of its own, or unmount it"
  # The command line goes before our file, and without recurse=0 the overlay would cover the
  # data too: it would be gone at the next start.
  if grep -qs 'overlayroot=' "$cmdline"; then
    refuse "$cmdline switches an overlay on already" "switch it off with 'sudo raspi-config' (Performance Options)"
  fi
}

install_overlayroot() {
  [[ $(dpkg-query -W -f '${Status}' overlayroot 2>/dev/null) == "install ok installed" ]] && return
  run apt-get update
  run env DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends overlayroot
}

copy_data() {
  findmnt -n "$data" >/dev/null && return
  [[ -d $data && -n $(ls -A "$data") ]] || return 0
  if $dry_run; then
    printf '+ copy %q to %q, if that is empty\n' "$data" "$partition"
    return
  fi
  local aside
  aside=$(mktemp -d)
  run mount "$partition" "$aside"
  if [[ -n $(find "$aside" -mindepth 1 -maxdepth 1 -not -name lost+found) ]]; then
    echo "   note: $partition is not empty: what lies in $data is not copied to it and will be hidden"
  else
    # Under a name that the program does not know until all of it is there.
    run cp -a "$data/." "$aside/.copied"
    run sync
    run find "$aside/.copied" -mindepth 1 -maxdepth 1 -exec mv -t "$aside" {} +
    run rmdir "$aside/.copied"
  fi
  run chown --reference "$data" "$aside"
  run chmod --reference "$data" "$aside"
  run umount "$aside"
  rmdir "$aside"
}

# nofail: a device without its partition starts all the same, and can be looked at; its service
# does not (see require_partition).
mount_line() {
  echo "UUID=$uuid /var/lib/qlvit-edge ext4 defaults,noatime,nodev,nosuid,noexec,errors=remount-ro,nofail,x-systemd.device-timeout=30s 0 2 $MARK"
}

edit_fstab() {
  local text
  text=$(grep -v "$MARK\$" "$fstab" || true)
  if grep -q '^[^#]*[[:space:]]/var/lib/qlvit-edge[[:space:]]' <<<"$text"; then
    refuse "$fstab mounts something at /var/lib/qlvit-edge already" "remove that line"
  fi
  text=$(boot_options '\1defaults,ro' <<<"$text")
  text+=$'\n'$(mount_line)
  [[ -e $fstab.before-qlvit-edge ]] || run cp -a "$fstab" "$fstab.before-qlvit-edge"
  write "$text" "$fstab"
}

boot_options() { # replacement for "defaults" of the partition that the firmware reads
  sed -E "s#^([^\\#][^[:space:]]*[[:space:]]+/boot/firmware[[:space:]]+vfat[[:space:]]+)defaults(,ro)?#$1#"
}

# Without the partition the run would write into memory, and all of it be lost.
require_partition() {
  make_folder "${drop_in%/*}"
  write "# Made by $name.
[Unit]
RequiresMountsFor=/var/lib/qlvit-edge
AssertPathIsMountPoint=/var/lib/qlvit-edge" "$drop_in"
}

switch_overlay_on() {
  make_folder "${journal%/*}"
  write "# Made by $name. recurse=0: other partitions stay writable.
overlayroot=\"tmpfs:recurse=0\"" "$overlay"
  write "# Made by $name.
[Journal]
Storage=volatile
RuntimeMaxUse=32M" "$journal"
  ((changes == 0)) || run update-initramfs -u
}

switch_overlay_off() {
  remove "$overlay" "$journal"
  # The partition stays in use: results do not move back.
  [[ ! -f $fstab ]] || write "$(boot_options '\1defaults' <"$fstab")" "$fstab"
  ((changes == 0)) || run update-initramfs -u
}

main() {
  parse "$@"
  need_root
  $dry_run || refuse_overlay
  if $undo; then
    step "Writable system" "see above" switch_overlay_off
    finish "The system is writable after the next start ('sudo reboot'). Results stay on their partition."
    return
  fi
  check_partition
  step "overlayroot" "see what apt says above; mostly the network" install_overlayroot
  step "What lies in $data" "is $partition large enough? 'lsblk'" copy_data
  step "Partitions" "see above; the old file is $fstab.before-qlvit-edge" edit_fstab
  step "No run without the partition" "see above" require_partition
  step "Read-only system" "see above" switch_overlay_on
  finish "Restart the device ('sudo reboot'). To change the system later: 'sudo overlayroot-chroot'."
}

main "$@"
