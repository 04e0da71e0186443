# Tier magnum: Magnum with the lab's own cluster driver, without Heat.
magnum_init() {
  mkdir -p "$ETC/magnum" "$DATA/magnum/certs"
  cp /etc/magnum/api-paste.ini /etc/magnum/keystone_auth_default_policy.json "$ETC/magnum/"
  magnum_conf
  async magnum magnum-db-manage --config-file "$ETC/magnum/magnum.conf" upgrade
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
max_clusters_per_project = 4
$(common)
E
  for s in barbican cinder glance heat neutron nova octavia magnum; do
    printf '[%s_client]\nregion_name = RegionOne\nendpoint_type = publicURL\n' "$s" >>"$ETC/magnum/magnum.conf"
  done
}
magnum_start() {
  once seed-magnum /usr/bin/python3 "$HERE/seed.py" magnum
  spawn magnum-api magnum-api --config-file "$ETC/magnum/magnum.conf"
  spawn magnum-conductor magnum-conductor --config-file "$ETC/magnum/magnum.conf"
  wait_port magnum-api 9511
}
