#!/usr/bin/env bats
# A system that is read-only, and results on a partition of their own.
# shellcheck disable=SC2016,SC2154 # stand-ins are written as they are; variables of device.bash and bats

load device

setup() {
  make_device
  script=$scripts/read_only_root.sh
  data=$QLVIT_EDGE_ROOT/var/lib/qlvit-edge
  partition=$BATS_TEST_TMPDIR/partition
  export FSTAB="$QLVIT_EDGE_ROOT/etc/fstab" PARTITION=$partition
  mkdir -p "$data" "$STATE/mounted"
  echo cells >"$data/results.sqlite"
  touch "$partition"
  cat >"$FSTAB" <<'END'
proc /proc proc defaults 0 0
PARTUUID=1-01 /boot/firmware vfat defaults 0 2
PARTUUID=1-02 / ext4 defaults,noatime 0 1
END
  cp "$FSTAB" "$STATE/fstab"
  stand_in blkid 'case "$2" in TYPE) echo "${FAKE_TYPE-ext4}" ;; UUID) echo 11-22 ;; esac'
  stand_in findmnt '[ -z "$FAKE_MOUNTED" ] && exit 1; echo "$FAKE_MOUNTED"'
  stand_in dpkg-query 'grep -qsx overlayroot "$STATE/packages" && echo "install ok installed"'
  stand_in apt-get 'echo "apt-get $*" >>"$CALLS"; [ "$1" != install ] || echo overlayroot >>"$STATE/packages"'
  # A folder stands for the partition: its content is moved there when it is unmounted.
  stand_in mount 'echo mount >>"$CALLS"; cp -a "$STATE/mounted/." "$2"'
  stand_in umount 'echo umount >>"$CALLS"; rm -rf "$STATE/mounted"; cp -a "$1" "$STATE/mounted"; find "$1" -mindepth 1 -delete'
}

@test "results move to their partition, and the system becomes read-only" {
  changes_nothing_dry "$script" --data "$partition"
  run bash "$script" --data "$partition"
  [ "$status" -eq 0 ]
  [ "$(cat "$STATE/mounted/results.sqlite")" = cells ]
  [ ! -e "$STATE/mounted/.copied" ]
  grep -q '^UUID=11-22 /var/lib/qlvit-edge ext4 .*nofail.* 0 2 # by read_only_root.sh$' "$FSTAB"
  grep -qx 'PARTUUID=1-01 /boot/firmware vfat defaults,ro 0 2' "$FSTAB"
  grep -qx 'PARTUUID=1-02 / ext4 defaults,noatime 0 1' "$FSTAB"
  cmp "$FSTAB.before-qlvit-edge" "$STATE/fstab"
  grep -qx 'overlayroot="tmpfs:recurse=0"' "$QLVIT_EDGE_ROOT/etc/overlayroot.local.conf"
  grep -qx 'AssertPathIsMountPoint=/var/lib/qlvit-edge' \
    "$QLVIT_EDGE_ROOT/etc/systemd/system/qlvit-edge.service.d/data-partition.conf"
  [ "$(tail -n 1 "$CALLS")" = "update-initramfs -u" ]
  # As after the next start:
  FAKE_MOUNTED=/var/lib/qlvit-edge is_idempotent "$script" --data "$partition"
}

@test "what lies on the partition is never overwritten" {
  echo older >"$STATE/mounted/results.sqlite"
  run bash "$script" --data "$partition"
  [ "$status" -eq 0 ]
  [[ $output == *"is not empty: what lies in $data is not copied"* ]]
  [ "$(cat "$STATE/mounted/results.sqlite")" = older ]
}

@test "undo makes the system writable and leaves the partition in use" {
  run bash "$script" --data "$partition"
  run bash "$script" --undo
  [ "$status" -eq 0 ]
  [ ! -e "$QLVIT_EDGE_ROOT/etc/overlayroot.local.conf" ]
  grep -qx 'PARTUUID=1-01 /boot/firmware vfat defaults 0 2' "$FSTAB"
  grep -q 'UUID=11-22' "$FSTAB"
  is_idempotent "$script" --undo
}

@test "no partition is formatted or taken from somebody else" {
  FAKE_TYPE=vfat is_refused "holds vfat, ext4 is needed" "$script" --data "$partition"
  FAKE_TYPE='' is_refused "holds no file system" "$script" --data "$partition"
  FAKE_MOUNTED=/ is_refused "is mounted at /" "$script" --data "$partition"
  is_refused "no such partition" "$script" --data /dev/gone
  is_refused "the partition for data is not named" "$script"
}

@test "an overlay that would cover the data is refused" {
  echo 'console=tty1 overlayroot=tmpfs rootwait' >"$QLVIT_EDGE_ROOT/boot/firmware/cmdline.txt"
  is_refused "switches an overlay on already" "$script" --data "$partition"
}

@test "a read-only system is not changed from above" {
  echo 'overlayroot / overlay rw,relatime 0 0' >"$QLVIT_EDGE_ROOT/proc/mounts"
  is_refused "overlayroot-chroot" "$script" --data "$partition"
}
