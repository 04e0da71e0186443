# Kubernetes tier: magnum with the lab's own cluster driver (no heat), or with heat when LAB_WITH also names heat.
magnum_init() {
  mkdir -p "$ETC/magnum" "$DATA/magnum/certs"
  cp /etc/magnum/api-paste.ini /etc/magnum/keystone_auth_default_policy.json "$ETC/magnum/"
  magnum_conf
  async magnum magnum-db-manage --config-file "$ETC/magnum/magnum.conf" upgrade
  if with heat; then
    mkdir -p "$ETC/heat/environment.d" "$ETC/heat/templates"
    cp /etc/heat/api-paste.ini "$ETC/heat/"; cp -r /etc/heat/templates/. "$ETC/heat/templates/"
    # Guests of the fake driver never run heat's agent: everything that waits for one becomes OS::Heat::None.
    cat >"$ETC/heat/environment.d/lab.yaml" <<E
resource_registry:
  "OS::Heat::SoftwareDeployment": "OS::Heat::None"
  "OS::Heat::SoftwareDeploymentGroup": "OS::Heat::None"
  "OS::Heat::WaitCondition": "OS::Heat::None"
E
    cat >"$ETC/heat/heat.conf" <<E
[DEFAULT]
transport_url = $AMQP
num_engine_workers = 1
plugin_dirs =
environment_dir = $ETC/heat/environment.d
template_dir = $ETC/heat/templates
heat_metadata_server_url = http://$A:8000
heat_waitcondition_server_url = http://$A:8000/v1/waitcondition
region_name_for_services = RegionOne
stack_user_domain_name = heat
stack_domain_admin = lab-heat
stack_domain_admin_password = $LAB_PASSWORD
max_resources_per_stack = -1
deferred_auth_method = trusts
[heat_api]
bind_host = $A
bind_port = 8004
workers = 1
[paste_deploy]
api_paste_config = $ETC/heat/api-paste.ini
[database]
connection = $(db_url heat)
[clients_keystone]
auth_uri = $KEYSTONE
[trustee]
auth_type = password
auth_url = $KEYSTONE
user_domain_id = default
username = lab-service
password = $LAB_PASSWORD
$(authtoken)
$(common)
E
    async heat heat-manage --config-file "$ETC/heat/heat.conf" db_sync
  fi
}
magnum_conf() {
  cat >"$ETC/magnum/magnum.conf" <<E
[DEFAULT]
transport_url = $AMQP
state_path = $DATA/magnum
host = magnum-conductor
[api]
host = $A
port = 9511
workers = 1
api_paste_config = $ETC/magnum/api-paste.ini
[conductor]
workers = 1
[certificates]
cert_manager_type = x509keypair
storage_path = $DATA/magnum/certs
[cluster]
etcd_discovery_service_endpoint_format = http://$A:8089/new?size=%(size)d
[cluster_template]
kubernetes_allowed_network_drivers = all
[database]
connection = $(db_url magnum)
[trust]
trustee_domain_name = magnum
trustee_domain_admin_name = lab-magnum
trustee_domain_admin_password = $LAB_PASSWORD
trustee_keystone_interface = public
cluster_user_trust = true
[keystone_auth]
$(svc_auth)
auth_section = keystone_authtoken
[keystone_authtoken]
auth_version = v3
www_authenticate_uri = $KEYSTONE
memcached_servers = $A:$MEMCACHED_PORT
project_name = service
user_domain_name = Default
project_domain_name = Default
$(svc_auth)
[kubernetes]
keystone_auth_default_policy = $ETC/magnum/keystone_auth_default_policy.json
[quotas]
max_clusters_per_project = ${LAB_QUOTA_CLUSTERS:-4}
$(common)
E
  for s in barbican cinder glance heat neutron nova octavia magnum; do
    printf '[%s_client]\nregion_name = RegionOne\nendpoint_type = publicURL\n' "$s" >>"$ETC/magnum/magnum.conf"
  done
}
magnum_start() {
  once seed-magnum /usr/bin/python3 "$HERE/seed.py" magnum
  if with heat; then
    spawn heat-api heat-api --config-file "$ETC/heat/heat.conf"
    spawn heat-engine heat-engine --config-file "$ETC/heat/heat.conf"
    spawn discovery "$HERE/py/lab-discovery" "$A" 8089
    wait_port heat-api 8004
  fi
  spawn magnum-api magnum-api --config-file "$ETC/magnum/magnum.conf"
  spawn magnum-conductor magnum-conductor --config-file "$ETC/magnum/magnum.conf"
  wait_port magnum-api 9511
}
