# Tier guests: libvirtd, and a nova-compute that boots real machines in the zone "guests".
guests_init() {
  computes+=(qemu1)
  mkdir -p "$DATA/nova/qemu1/instances" "$DATA/guest"
  once guest-image "$HERE/guest-image.sh" "$DATA/guest"
  cat >"$ETC/nova/compute-qemu1.conf" <<C
[DEFAULT]
host = qemu1
state_path = $DATA/nova/qemu1
instances_path = $DATA/nova/qemu1/instances
compute_driver = libvirt.LibvirtDriver
config_drive_format = iso9660
force_config_drive = true
mkisofs_cmd = genisoimage
force_raw_images = false
use_cow_images = true
max_concurrent_builds = 4
# Twenty guests of one processor fit, however few this computer has.
cpu_allocation_ratio = 16.0
[libvirt]
virt_type = $LAB_VIRT
cpu_mode = none
connection_uri = qemu+unix:///system?socket=$RUN/libvirt/libvirt-sock
inject_partition = -2
num_pcie_ports = 4
hw_machine_type = x86_64=pc
use_virtio_for_bridges = true
[privsep_osbrick]
helper_command = privsep-helper
C
}
guests_start() {
  local i l="$RUN/libvirt"
  ip link show "$BRIDGE" >/dev/null 2>&1 || {
    ip link add "$BRIDGE" type bridge
    ip addr add "$LAB_GUEST_GW/${LAB_GUEST_NET#*/}" dev "$BRIDGE"
    ip link set "$BRIDGE" up
  }
  mkdir -p "$l/run" "$ETC/libvirt" "$DATA/libvirt"
  cat >"$ETC/libvirt/libvirtd.conf" <<C
unix_sock_dir = "$l"
auth_unix_rw = "none"
auth_unix_ro = "none"
log_outputs = "3:stderr"
C
  # Guests run as root, without control groups, namespaces and labels: nobody else is in the lab.
  cat >"$ETC/libvirt/qemu.conf" <<C
user = "root"
group = "root"
dynamic_ownership = 1
remember_owner = 0
security_driver = "none"
cgroup_controllers = [ ]
namespaces = [ ]
stdio_handler = "file"
C
  mkdir -p /etc/libvirt /run/libvirt /var/lib/libvirt
  # libvirtd looks for all but its first file in fixed places: it gets a mount namespace of its own.
  spawn libvirtd unshare --mount --propagation private sh -c 'mount --bind "$1" /etc/libvirt && mount --bind "$2" /run/libvirt &&
    mount --bind "$3" /var/lib/libvirt && exec libvirtd --config /etc/libvirt/libvirtd.conf --pid-file "$4"' \
    libvirtd "$ETC/libvirt" "$l/run" "$DATA/libvirt" "$l/libvirtd.pid"
  for ((i = 0; i < 100; i++)); do [[ -S $l/libvirt-sock ]] && break; sleep 0.2; done
  spawn nova-compute-qemu1 nova-compute --config-file "$ETC/nova/nova.conf" --config-file "$ETC/nova/compute-qemu1.conf"
}
