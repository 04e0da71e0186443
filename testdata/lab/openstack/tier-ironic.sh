# Tier ironic: Ironic (API and conductor in one process, fake hardware that py/lab_ironic.py deploys), and a
# nova-compute with the ironic driver.
ironic_init() {
  computes+=(ironic1)
  mkdir -p "$ETC/ironic" "$DATA/ironic"
  cat >"$ETC/ironic/ironic.conf" <<E
[DEFAULT]
auth_strategy = keystone
host = ironic-conductor
my_ip = $A
state_path = $DATA/ironic
rpc_transport = none
enabled_hardware_types = fake-hardware
enabled_bios_interfaces = fake
enabled_boot_interfaces = fake
enabled_console_interfaces = fake
enabled_deploy_interfaces = lab
default_deploy_interface = lab
enabled_inspect_interfaces = fake
enabled_management_interfaces = fake
enabled_network_interfaces = noop
enabled_power_interfaces = fake
enabled_raid_interfaces = fake
enabled_rescue_interfaces = fake
enabled_storage_interfaces = noop
enabled_vendor_interfaces = fake
[api]
host_ip = $A
port = 6385
api_workers = 1
[conductor]
automated_clean = true
# The state of a fake node changes at once; a delay can be asked for: deploy_delay = 5,15 is 5 to 15 s.
[fake]
deploy_delay = 0
[dhcp]
dhcp_provider = none
[database]
connection = $(db_url ironic)
[service_catalog]
$(svc_auth)
[neutron]
$(svc_auth)
[glance]
$(svc_auth)
[nova]
$(svc_auth)
$(authtoken)
$(common true)
E
  printf '[DEFAULT]\nhost = ironic1\nstate_path = %s\ncompute_driver = ironic.IronicDriver\nforce_config_drive = true\nmkisofs_cmd = genisoimage\nsync_power_state_interval = -1\nupdate_resources_interval = 10\n[ironic]\napi_retry_interval = 1\n%s\n' \
    "$DATA/nova/ironic1" "$(svc_auth)" >"$ETC/nova/compute-ironic1.conf"
  mkdir -p "$DATA/nova/ironic1"
  async ironic ironic-dbsync --config-file "$ETC/ironic/ironic.conf" upgrade
}
ironic_start() {
  spawn ironic ironic --config-file "$ETC/ironic/ironic.conf"
  wait_port ironic 6385
  async seed-ironic /usr/bin/python3 "$HERE/seed.py" ironic
  spawn nova-compute-ironic1 nova-compute --config-file "$ETC/nova/nova.conf" --config-file "$ETC/nova/compute-ironic1.conf"
}
