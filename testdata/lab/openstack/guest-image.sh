#!/usr/bin/env bash
# Makes a small Linux guest in the folder $1: Debian's cloud kernel, an initrd (busybox, OpenSSH), an
# empty disk. The guest takes from its config drive what cloud-init would: host name, address,
# authorized keys, and of user data the host key. A script as user data is run.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
out=$(realpath "$1") work=$(realpath "$1")/work
rm -rf "$work"
mkdir -p "$work"
cd "$work"
dpkg-deb -x "$(ls "$LAB_DIR"/debs/kernel/linux-image-*.deb | tail -1)" kernel
version=$(ls kernel/lib/modules) r=$work/root
mkdir -p "$r"/{bin,sbin,usr/sbin,usr/bin,usr/lib/openssh,lib64,lib,etc/ssh,proc,sys,dev,run,tmp,root/.ssh,mnt,lib/modules,var/empty}
cp "$(command -v busybox)" "$r/bin/busybox"
cp /usr/sbin/sshd "$r/usr/sbin/"
cp /usr/lib/openssh/sftp-server "$r/usr/lib/openssh/"
for lib in $(ldd /usr/sbin/sshd /usr/lib/openssh/sftp-server | grep -o '/[^ ]*\.so[^ ]*' | sort -u); do
  mkdir -p "$r$(dirname "$lib")"
  cp -L "$lib" "$r$lib"
done
# In the order they are loaded in.
for m in virtio_ring virtio virtio_pci_modern_dev virtio_pci_legacy_dev virtio_pci failover net_failover virtio_net virtio_blk \
  rng-core virtio-rng scsi_common scsi_mod cdrom sr_mod libata ata_piix isofs nls_base; do
  f=$(find "kernel/lib/modules/$version" -name "$m.ko" -o -name "${m//_/-}.ko" | head -1)
  [[ -n $f ]] || continue
  cp "$f" "$r/lib/modules/"
  basename "$f" >>"$r/lib/modules/order"
done
printf 'root:x:0:0:root:/root:/bin/sh\nsshd:x:100:100:sshd:/var/empty:/bin/false\n' >"$r/etc/passwd"
printf 'root:x:0:\nsshd:x:100:\n' >"$r/etc/group"
printf 'root:*:19000:0:99999:7:::\nsshd:*:19000:0:99999:7:::\n' >"$r/etc/shadow"
echo 'passwd: files' >"$r/etc/nsswitch.conf"
cat >"$r/etc/ssh/sshd_config" <<C
HostKey /etc/ssh/host_key
PermitRootLogin prohibit-password
PasswordAuthentication no
StrictModes no
UseDNS no
MaxSessions 100
MaxStartups 100
Subsystem sftp /usr/lib/openssh/sftp-server
C
cat >"$r/init" <<'INIT'
#!/bin/busybox sh
# A container's runtime cannot leave an initramfs (pivot_root): all goes to a file system of its own.
if [ ! -e /moved ]; then
  b=/bin/busybox
  $b mkdir /new && $b mount -t tmpfs -o size=80% new /new
  for f in /*; do [ "$f" = /new ] || $b cp -a "$f" /new/; done
  $b touch /new/moved
  exec $b switch_root /new /init
fi
export PATH=/bin:/sbin:/usr/bin:/usr/sbin HOME=/root
/bin/busybox --install -s /bin
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev; mkdir -p /dev/pts /dev/shm; mount -t devpts pts /dev/pts
mount -t tmpfs run /run; mount -t tmpfs tmp /tmp; mkdir -p /run/sshd
ln -sf /proc/self/fd /dev/fd; ln -sf /proc/self/fd/0 /dev/stdin; ln -sf /proc/self/fd/1 /dev/stdout; ln -sf /proc/self/fd/2 /dev/stderr
while read -r m; do insmod "/lib/modules/$m" 2>/dev/null; done </lib/modules/order
ip link set lo up
i=0 drive=
while [ $i -lt 50 ] && [ -z "$drive" ]; do
  for d in /dev/sr0 /dev/vdb /dev/vda; do
    [ -b $d ] && mount -t iso9660 -o ro $d /mnt 2>/dev/null && [ -d /mnt/openstack ] && drive=/mnt/openstack/latest && break
  done
  sleep 0.1; i=$((i + 1))
done
# text KEY FILE: a string out of JSON, its escapes undone.
text() { printf '%b' "$(grep -o "\"$1\": *\"[^\"]*\"" "$2" | head -n 1 | sed 's/^"[^"]*": *"//; s/"$//')"; }
if [ -n "$drive" ]; then
  hostname "$(text hostname $drive/meta_data.json)"
  data=$drive/user_data
  [ -s $data ] || data=/dev/null
  cat $drive/meta_data.json $data | grep -o '\(ssh-[a-z0-9-]*\|ecdsa-[a-z0-9-]*\) [A-Za-z0-9+/=]*' | sort -u >/root/.ssh/authorized_keys
  text ed25519_private $data >/etc/ssh/host_key
  chmod 700 /root /root/.ssh; chmod 600 /root/.ssh/authorized_keys /etc/ssh/host_key
  ip addr add "$(text ip_address $drive/network_data.json)/24" dev eth0
  ip link set eth0 up
  gw=$(text gateway $drive/network_data.json)
  [ -n "$gw" ] && ip route add default via "$gw"
fi
/usr/sbin/sshd -e 2>/dev/console
if head -c2 "${data:-/dev/null}" | grep -q '#!'; then cp $data /run/user-data; chmod 700 /run/user-data; /run/user-data >/dev/console 2>&1; fi
echo "lab: $(hostname) is up after $(cut -d' ' -f1 /proc/uptime) s" >/dev/console
trap 'poweroff -f' TERM USR1 USR2
while :; do sleep 3600 & wait; done
INIT
chmod 755 "$r/init"
cp kernel/boot/vmlinuz-* "$out/vmlinuz"
(cd "$r" && find . | cpio --quiet -o -H newc | gzip -1) >"$out/initrd.gz"
qemu-img create -q -f qcow2 "$out/disk.qcow2" 16M
rm -rf "$work"
