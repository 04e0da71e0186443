# Tier guests: hosts "qemu1", "qemu2", ... of the zone "guests" that boot real machines. Each is a libvirtd with a host
# name, a mount namespace and folders of its own, and a nova-compute.
guests_init() {
  local i d
  mkdir -p "$DATA/guest"
  once guest-image "$HERE/guest-image.sh" "$DATA/guest"
  for ((i = 1; i <= LAB_GUEST_HOSTS; i++)); do
    computes+=("qemu$i")
    d="$DATA/nova/qemu$i"
    mkdir -p "$d/instances"
    cat >"$ETC/nova/compute-qemu$i.conf" <<C
[DEFAULT]
host = qemu$i
state_path = $d
instances_path = $d/instances
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
connection_uri = qemu+unix:///system?socket=$RUN/libvirt-qemu$i/libvirt-sock
inject_partition = -2
num_pcie_ports = 4
hw_machine_type = x86_64=pc
use_virtio_for_bridges = true
[privsep_osbrick]
helper_command = privsep-helper
C
  done
}
guests_start() {
  local i l n
  ip link show "$BRIDGE" >/dev/null 2>&1 || {
    ip link add "$BRIDGE" type bridge
    ip addr add "$LAB_GUEST_GW/${LAB_GUEST_NET#*/}" dev "$BRIDGE"
    ip link set "$BRIDGE" up
  }
  mkdir -p /etc/libvirt /run/libvirt /var/lib/libvirt
  for ((i = 1; i <= LAB_GUEST_HOSTS; i++)); do
    l="$RUN/libvirt-qemu$i"
    mkdir -p "$l/run" "$ETC/libvirt-qemu$i" "$DATA/libvirt-qemu$i"
    cat >"$ETC/libvirt-qemu$i/libvirtd.conf" <<C
unix_sock_dir = "$l"
auth_unix_rw = "none"
auth_unix_ro = "none"
log_outputs = "3:stderr"
C
    # Guests run as root, without control groups, namespaces and labels: nobody else is in the lab.
    cat >"$ETC/libvirt-qemu$i/qemu.conf" <<C
user = "root"
group = "root"
dynamic_ownership = 1
remember_owner = 0
security_driver = "none"
cgroup_controllers = [ ]
namespaces = [ ]
stdio_handler = "file"
C
    # libvirtd looks for all but its first file in fixed places: it gets a mount namespace of its own.
    spawn "libvirtd-qemu$i" unshare --mount --uts --propagation private sh -c 'hostname "$5" && mount --bind "$1" /etc/libvirt &&
      mount --bind "$2" /run/libvirt && mount --bind "$3" /var/lib/libvirt && exec libvirtd --config /etc/libvirt/libvirtd.conf --pid-file "$4"' \
      libvirtd "$ETC/libvirt-qemu$i" "$l/run" "$DATA/libvirt-qemu$i" "$l/libvirtd.pid" "qemu$i"
  done
  for ((i = 1; i <= LAB_GUEST_HOSTS; i++)); do
    for ((n = 0; n < 100; n++)); do [[ -S $RUN/libvirt-qemu$i/libvirt-sock ]] && break; sleep 0.2; done
    spawn "nova-compute-qemu$i" nova-compute --config-file "$ETC/nova/nova.conf" --config-file "$ETC/nova/compute-qemu$i.conf"
  done
}
