#!/usr/bin/env bash
# Starts the lab in its network namespace. The first start makes the databases and what is in them;
# what runs already is left alone.
#   LAB_TIERS="vm ironic magnum guests" ./start.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
inside "$@"
A=$LAB_ADDR
hosts=()
for ((i = 1; i <= LAB_FAKE_HOSTS; i++)); do hosts+=("host$i"); done
computes=("${hosts[@]}")   # tiers add theirs
mkdir -p "$ETC" "$LOG" "$RUN" "$DATA" "$LAB_FAULTS/nova" "$LAB_FAULTS/ironic"
source "$HERE/conf.sh"
source "$HERE/env.sh"
say "configured"

# database, broker, cache
D="$DATA/mysql"
if [[ ! -d $D/mysql ]]; then
  mariadb-install-db --no-defaults --datadir="$D" --user=root --auth-root-authentication-method=normal \
    --skip-test-db >"$LOG/mariadb-install.log" 2>&1
fi
spawn mariadb mariadbd --no-defaults --user=root --datadir="$D" --socket="$RUN/mysql.sock" --pid-file="$DATA/mysqld.pid" \
  --bind-address="$A" --port="$DB_PORT" --max-connections=1000 --skip-log-bin --skip-name-resolve \
  --innodb-flush-log-at-trx-commit=0 --skip-innodb-doublewrite --innodb-buffer-pool-size=256M --performance-schema=OFF \
  --character-set-server=utf8mb3
(
  export HOME="$DATA/rabbitmq" ERL_EPMD_ADDRESS="$A"
  export RABBITMQ_NODENAME=lab@localhost RABBITMQ_NODE_IP_ADDRESS="$A" RABBITMQ_NODE_PORT="$AMQP_PORT"
  export RABBITMQ_MNESIA_BASE="$DATA/rabbitmq/mnesia" RABBITMQ_LOG_BASE="$LOG" RABBITMQ_LOGS=- RABBITMQ_CONF_ENV_FILE="$ETC/rabbitmq-env.conf"
  export RABBITMQ_ENABLED_PLUGINS_FILE="$ETC/rabbitmq-plugins" RABBITMQ_CONFIG_FILE="$ETC/rabbitmq"
  export RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS='+S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none -kernel inet_dist_use_interface {127,0,0,1}'
  : >"$ETC/rabbitmq-env.conf"; echo '[].' >"$ETC/rabbitmq-plugins"
  printf 'disk_free_limit.absolute = 50MB\nlog.console.level = warning\n' >"$ETC/rabbitmq.conf"
  spawn epmd epmd -address "$A"
  spawn rabbitmq "$(echo /usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin/rabbitmq-server)"
)
spawn memcached memcached -u root -l "$A" -p "$MEMCACHED_PORT" -m 64
wait_port mariadb "$DB_PORT"
sql() { mariadb --no-defaults -uroot -S "$RUN/mysql.sock" "$@"; }
databases="keystone glance placement nova_api nova nova_cell0 neutron"
for t in ironic magnum; do if with $t; then databases+=" $t"; fi; done
for d in $databases; do echo "CREATE DATABASE IF NOT EXISTS $d; GRANT ALL ON $d.* TO lab@'127.0.0.1' IDENTIFIED BY 'lab'; GRANT ALL ON $d.* TO lab@localhost IDENTIFIED BY 'lab';"; done | sql
say "database up"

# schema
bg=(); async() { once "$@" & bg+=($!); }
join() { local p; for p in "${bg[@]}"; do wait "$p" || exit 1; done; bg=(); }
keystone_init() {
  local k=(keystone-manage --config-file "$ETC/keystone/keystone.conf") u=http://$A:5000/v3
  "${k[@]}" db_sync
  "${k[@]}" fernet_setup --keystone-user root --keystone-group root
  "${k[@]}" credential_setup --keystone-user root --keystone-group root
  "${k[@]}" bootstrap --bootstrap-password "$LAB_PASSWORD" --bootstrap-region-id RegionOne \
    --bootstrap-public-url "$u" --bootstrap-internal-url "$u" --bootstrap-admin-url "$u"
}
nova_init() {
  local n=(nova-manage --config-file "$ETC/nova/nova.conf")
  "${n[@]}" api_db sync
  "${n[@]}" cell_v2 map_cell0 --database_connection "$(db_url nova_cell0)"
  "${n[@]}" cell_v2 create_cell --name cell1 --transport-url "$AMQP" --database_connection "$(db_url nova)" || [[ $? == 2 ]]
  "${n[@]}" db sync
}
async keystone keystone_init
async nova nova_init
async placement placement-manage --config-file "$ETC/placement/placement.conf" db sync
async glance glance-manage --config-file "$ETC/glance/glance-api.conf" db_sync
async neutron neutron-db-manage --config-file "$ETC/neutron/neutron.conf" upgrade heads
for t in ironic magnum guests; do if with $t; then source "$HERE/tier-$t.sh"; ${t}_init; fi; done
join
say "schemas ready"

# daemons
wsgi() { # NAME PORT FILE
  spawn "$1" uwsgi --plugin python3 --http-socket "$A:$2" --master --die-on-term --need-app --lazy-apps --enable-threads \
    --add-header "Connection: close" \
    --processes 1 --threads 8 --buffer-size 65535 --listen 100 --disable-logging --wsgi-file "$3"
}
OS_KEYSTONE_CONFIG_DIR="$ETC/keystone" wsgi keystone 5000 /usr/bin/keystone-wsgi-public
wait_port keystone 5000
once "seed-identity-${LAB_TIERS// /-}" /usr/bin/python3 "$HERE/seed.py" identity & seed=$!
OS_PLACEMENT_CONFIG_DIR="$ETC/placement" wsgi placement 8778 /usr/bin/placement-api
wait_port rabbitmq "$AMQP_PORT"
n=(--config-file "$ETC/nova/nova.conf")
spawn glance-api glance-api --config-file "$ETC/glance/glance-api.conf"
spawn neutron-server neutron-server --config-file "$ETC/neutron/neutron.conf"
wait $seed || exit 1   # the service user must exist before anything asks keystone with it
spawn nova-conductor nova-conductor "${n[@]}"
spawn nova-scheduler nova-scheduler "${n[@]}"
spawn nova-api nova-api "${n[@]}"
wait_port placement 8778
for h in "${hosts[@]}"; do spawn "nova-compute-$h" "$HERE/py/nova-compute" "${n[@]}" --config-file "$ETC/nova/compute-$h.conf"; done
for t in ironic magnum guests; do if with $t; then ${t}_start; fi; done
wait_port glance-api 9292; wait_port neutron-server 9696; wait_port nova-api 8774
say "APIs listen"
once seed-objects /usr/bin/python3 "$HERE/seed.py" objects
for t in ironic magnum guests; do if with $t; then once "seed-$t-objects" /usr/bin/python3 "$HERE/seed.py" "${t}_objects"; fi; done
join
/usr/bin/python3 "$HERE/seed.py" wait "${computes[@]}"
say "ready: . $LAB_DIR/env; $(realpath --relative-to="$HERE/../../.." "$HERE/..")/netns.sh in COMMAND..."
