# Configuration of the services of the tier vm. Sourced by start.sh. What is not said here is the
# services' default; README.md says why the rest is needed.
mkdir -p "$DATA"/{staging,tasks,image-cache} "$ETC"/{keystone,glance,placement,nova,neutron} "$DATA"/{images,nova,neutron,lock,rabbitmq,fernet,credential}
chmod 700 "$DATA/fernet" "$DATA/credential"
authtoken() { cat <<E
[keystone_authtoken]
www_authenticate_uri = $KEYSTONE
auth_url = $KEYSTONE
memcached_servers = $A:$MEMCACHED_PORT
service_token_roles_required = true
service_token_roles = service
$(svc_auth)
E
}
svc_auth() { cat <<E
auth_type = password
auth_url = $KEYSTONE
project_domain_id = default
user_domain_id = default
project_name = service
username = lab-service
password = $LAB_PASSWORD
region_name = RegionOne
E
}
common() { cat <<E
[oslo_concurrency]
lock_path = $DATA/lock
[oslo_policy]
policy_dirs = $ETC/none
enforce_new_defaults = ${1:-false}
[oslo_messaging_notifications]
driver = noop
[oslo_messaging_rabbit]
rpc_conn_pool_size = 60
E
}
cat >"$ETC/keystone/keystone.conf" <<E
[DEFAULT]
log_file =
[database]
connection = $(db_url keystone)
[token]
provider = fernet
expiration = 3600
[identity]
password_hash_rounds = 4
max_password_length = 72
[fernet_tokens]
key_repository = $DATA/fernet
[credential]
key_repository = $DATA/credential
[cache]
enabled = true
backend = dogpile.cache.pymemcache
memcache_servers = $A:$MEMCACHED_PORT
$(common)
E
cat >"$ETC/placement/placement.conf" <<E
[api]
auth_strategy = keystone
[placement_database]
connection = $(db_url placement)
$(authtoken)
$(common)
E
cp /etc/glance/glance-api-paste.ini "$ETC/glance/"
cat >"$ETC/glance/glance-api.conf" <<E
[DEFAULT]
bind_host = $A
bind_port = 9292
workers = 0
enabled_backends = fs:file
image_cache_dir = $DATA/image-cache
node_staging_uri = file://$DATA/staging
[os_glance_staging_store]
filesystem_store_datadir = $DATA/staging
[os_glance_tasks_store]
filesystem_store_datadir = $DATA/tasks
[glance_store]
default_backend = fs
[fs]
filesystem_store_datadir = $DATA/images
[database]
connection = $(db_url glance)
[paste_deploy]
flavor = keystone
config_file = $ETC/glance/glance-api-paste.ini
$(authtoken)
$(common)
E
cp /etc/nova/api-paste.ini "$ETC/nova/"
cat >"$ETC/nova/nova.conf" <<E
[DEFAULT]
transport_url = $AMQP
my_ip = $A
state_path = $DATA/nova
enabled_apis = osapi_compute
osapi_compute_listen = $A
osapi_compute_workers = 1
compute_driver = lab.LabDriver
default_availability_zone = nova
default_schedule_zone = nova
# No agent reports plugged ports: do not wait for network-vif-plugged.
vif_plugging_is_fatal = false
vif_plugging_timeout = 0
sync_power_state_interval = -1
update_resources_interval = 20
max_concurrent_builds = 10
initial_cpu_allocation_ratio = 4.0
initial_ram_allocation_ratio = 1.0
initial_disk_allocation_ratio = 1.0
[api]
max_limit = 1000
[wsgi]
api_paste_config = $ETC/nova/api-paste.ini
[api_database]
connection = $(db_url nova_api)
[database]
connection = $(db_url nova)
[quota]
instances = 40
cores = 80
ram = 2097152
server_groups = 40
[conductor]
workers = 1
[scheduler]
workers = 1
# A host of a zone is one node to Placement, and of Ironic's nodes the others would not be in it; what has its provider
# a moment later is not in it either. The filter knows better.
query_placement_for_availability_zone = false
discover_hosts_in_cells_interval = 5
[filter_scheduler]
enabled_filters = AvailabilityZoneFilter,ComputeFilter,ComputeCapabilitiesFilter,ImagePropertiesFilter,ServerGroupAntiAffinityFilter,ServerGroupAffinityFilter,SameHostFilter,DifferentHostFilter
[vnc]
enabled = false
[placement]
$(svc_auth)
[service_user]
send_service_user_token = true
$(svc_auth)
[glance]
api_servers = http://$A:9292
[neutron]
$(svc_auth)
service_metadata_proxy = false
$(authtoken)
$(common true)
E
for h in "${hosts[@]}"; do
  mkdir -p "$DATA/nova/$h"
  printf '[DEFAULT]\nhost = %s\nstate_path = %s\n' "$h" "$DATA/nova/$h" >"$ETC/nova/compute-$h.conf"
done
cp /etc/neutron/api-paste.ini "$ETC/neutron/"
cat >"$ETC/neutron/neutron.conf" <<E
[DEFAULT]
transport_url = $AMQP
bind_host = $A
bind_port = 9696
state_path = $DATA/neutron
core_plugin = ml2
service_plugins = router
api_paste_config = $ETC/neutron/api-paste.ini
api_workers = 0
rpc_workers = 0
rpc_state_report_workers = 0
notify_nova_on_port_status_changes = true
notify_nova_on_port_data_changes = false
dns_domain = lab.
[lab]
bridge = $BRIDGE
[ml2]
type_drivers = local,flat
tenant_network_types = local
mechanism_drivers = lab
extension_drivers = port_security
[ml2_type_flat]
flat_networks = *
[securitygroup]
enable_security_group = true
[database]
connection = $(db_url neutron)
[nova]
$(svc_auth)
[placement]
$(svc_auth)
[agent]
root_helper =
$(authtoken)
$(common)
E
