# Writes how to reach the lab: clouds.yaml, and a file to source. Sourced by start.sh.
cloud() { # NAME USER PROJECT
  cat <<Y
  $1:
    region_name: RegionOne
    identity_api_version: 3
    auth:
      auth_url: $KEYSTONE
      username: $2
      password: $LAB_PASSWORD
      project_name: $3
      user_domain_name: Default
      project_domain_name: Default
Y
}
{
  echo "clouds:"
  cloud lab lab lab
  cloud lab-vm vm vm
  cloud lab-nets nets nets
  cloud lab-guests guests guests
  cloud lab-admin admin admin
  cloud lab-other other other
  cloud lab-reader reader lab
} >"$LAB_DIR/clouds.yaml"
# What the conformance suite has to know of a cloud, see backends/backendtest/worlds_openstack_test.go.
more=
if with guests; then more=', "guest": {"flavor": "lab.guest", "image": "lab-guest", "network": "lab-guests", "zone": "guests", "user": "root"}, "guestHosts": '$LAB_GUEST_HOSTS; fi
if with magnum; then more+=', "template": "lab-kube"'; fi
if with ironic; then
  more+=', "metal": {"service": "ironic", "resourceClass": "metal", "image": "lab-image", "user": "root"}, "nodes": '$LAB_METAL_NODES
  more+=', "metalServer": {"flavor": "lab.metal", "image": "lab-image", "network": "lab-net", "zone": "metal", "user": "root"}, "metalNodes": 4'
fi
cat >"$LAB_DIR/env" <<E
export LAB_STARTED='$LAB_TIERS' # tiers
export OS_CLIENT_CONFIG_FILE='$LAB_DIR/clouds.yaml' OS_CLOUD=lab
export DLX_TEST_OPENSTACK='{"machine": {"flavor": "lab.tiny", "image": "lab-image", "network": "lab-net", "user": "root"}, "admin": "lab-admin",
  "hosts": $LAB_FAKE_HOSTS, "large": "lab.half", "impossible": "lab.impossible", "faults": "$LAB_FAULTS", "cache": "$LAB_ADDR:$MEMCACHED_PORT"$more}'
E
