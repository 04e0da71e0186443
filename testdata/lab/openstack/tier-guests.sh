# Guests tier: libvirtd and a nova-compute that boots real machines (qemu, software emulation unless LAB_VIRT=kvm).
: "${LAB_VIRT:=qemu}"
guests_init() {
  mkdir -p "$DATA/nova/qemu1/instances" "$DATA/guest"
  once guest-image "$HERE/guest-image.sh" "$DATA/guest"
  cat >"$ETC/nova/compute-qemu1.conf" <<E
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
E
}
guests_start() {
  ip link show "$BRIDGE" >/dev/null 2>&1 || {
    ip link add "$BRIDGE" type bridge
    ip addr add "$LAB_GUEST_GW/${LAB_GUEST_NET#*/}" dev "$BRIDGE"
    ip link set "$BRIDGE" up
  }
  mkdir -p "$RUN/libvirt"
  cat >"$ETC/libvirtd.conf" <<E
unix_sock_dir = "$RUN/libvirt"
auth_unix_rw = "none"
auth_unix_ro = "none"
log_outputs = "3:stderr"
E
  # libvirt reads its qemu settings from one fixed place. Guests run as the user who runs the lab; no cgroups, no namespaces.
  cat >/etc/libvirt/qemu.conf <<E
user = "root"
group = "root"
dynamic_ownership = 1
remember_owner = 0
security_driver = "none"
cgroup_controllers = [ ]
namespaces = [ ]
stdio_handler = "file"
E
  spawn libvirtd libvirtd --config "$ETC/libvirtd.conf"
  for ((i = 0; i < 100; i++)); do [[ -S $RUN/libvirt/libvirt-sock ]] && break; sleep 0.2; done
  spawn nova-compute-qemu1 nova-compute --config-file "$ETC/nova/nova.conf" --config-file "$ETC/nova/compute-qemu1.conf"
}
