#!/usr/bin/env bash
# Build the disk of an arm64 Debian device: systemd, sshd with the given key, nothing of this project.
#
#   build_image.sh SUITE OUT PUBLIC_KEY EMULATOR
#
# Leaves OUT/disk.raw, OUT/vmlinuz, OUT/initrd.img and OUT/host_key.pub. Needs root, mmdebstrap
# and e2fsprogs. EMULATOR is a static user-mode QEMU for Debian's maintainer scripts; the
# kernel is told of it only where it knows none, and only meanwhile.
set -euo pipefail

readonly suite=$1 out=$2 public_key=$3 emulator=$4
readonly binfmt=/proc/sys/fs/binfmt_misc name=qlvit-edge-$$ gigabytes=6
readonly packages=systemd-sysv,udev,dbus,openssh-server,linux-image-arm64,initramfs-tools,zstd,python3,python3-venv,kmod,iproute2,procps,sudo,e2fsprogs
root=$out/root

[[ $(id -u) == 0 ]] || {
  echo "build_image.sh: it has to own the files of a system; run it as root" >&2
  exit 2
}

if [[ ${IN_OWN_MOUNTS:-} != yes ]]; then
  IN_OWN_MOUNTS=yes exec unshare --mount "$0" "$@"
fi

tell_kernel() { # of the emulator, unless it knows one
  [[ -e $binfmt/register ]] || mount -t binfmt_misc none "$binfmt"
  ! grep -qs '^enabled' "$binfmt/qemu-aarch64" || return 0
  trap '! [[ -e $binfmt/$name ]] || echo -1 >"$binfmt/$name"' EXIT
  local magic='\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00'
  local mask='\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff'
  printf '%s' ":$name:M::$magic:$mask:$emulator:OCF" >"$binfmt/register"
}

extract() {
  # shellcheck disable=SC2016  # $1 is for mmdebstrap's own shell
  mmdebstrap --quiet --mode=root --variant=minbase --skip=check/qemu \
    --architectures=arm64 --include="$packages" \
    --essential-hook='mkdir -p "$1/etc/initramfs-tools/conf.d"
      echo MODULES=list >"$1/etc/initramfs-tools/conf.d/device"
      printf "%s\n" virtio_pci virtio_blk ext4 >"$1/etc/initramfs-tools/modules"' \
    "$suite" "$root"
}

configure() {
  echo device >"$root/etc/hostname"
  echo '127.0.0.1 localhost device' >"$root/etc/hosts"
  echo '/dev/vda / ext4 defaults 0 1' >"$root/etc/fstab"
  printf '[Match]\nName=e*\n[Network]\nDHCP=yes\n' >"$root/etc/systemd/network/10-wired.network"
  ln -sf /lib/systemd/system/systemd-networkd.service \
    "$root/etc/systemd/system/multi-user.target.wants/systemd-networkd.service"
  # A journal that outlives the power, as on a device whose faults are to be found.
  mkdir -p "$root/var/log/journal"
  install -d -m 0700 "$root/root/.ssh"
  install -m 0600 "$public_key" "$root/root/.ssh/authorized_keys"
  printf '' >"$root/etc/machine-id"
}

rm -rf "$out"
mkdir -p "$out"
tell_kernel
extract
configure
cp "$root"/boot/vmlinuz-* "$out/vmlinuz"
cp "$root"/boot/initrd.img-* "$out/initrd.img"
cp "$root/etc/ssh/ssh_host_ed25519_key.pub" "$out/host_key.pub"
truncate -s "${gigabytes}G" "$out/disk.raw"
mke2fs -q -t ext4 -L device -d "$root" "$out/disk.raw"
rm -rf "$root"
