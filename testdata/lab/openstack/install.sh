#!/usr/bin/env bash
# Installs Debian 12's OpenStack packages. Starts nothing; may be run again.
#   LAB_TIERS="vm ironic magnum guests" ./install.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
export DEBIAN_FRONTEND=noninteractive UCF_FORCE_CONFFOLD=1
packages=(keystone glance-api placement-api nova-api nova-conductor nova-scheduler nova-compute neutron-server
  mariadb-server rabbitmq-server memcached openssh-server python3-openstackclient uwsgi-core uwsgi-plugin-python3 iproute2)
if with ironic; then packages+=(genisoimage ironic-api ironic-conductor); fi
if with magnum; then packages+=(magnum-api magnum-conductor); fi
if with guests; then packages+=(busybox-static cpio genisoimage libvirt-daemon-system qemu-system-x86 qemu-utils); fi
need_kernel() { with guests && ! compgen -G "$LAB_DIR/debs/kernel/*.deb" >/dev/null; }
if dpkg -s "${packages[@]}" >/dev/null 2>&1 && ! need_kernel; then say "installed already"; exit 0; fi
# No package may start its service; where nothing forbids that yet, we do, for the time of the install.
if [[ ! -e /usr/sbin/policy-rc.d ]]; then
  trap 'rm -f /usr/sbin/policy-rc.d' EXIT
  printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
  chmod 755 /usr/sbin/policy-rc.d
fi
mkdir -p "$LAB_DIR/debs/partial"
# An archive folder of its own: images of containers often empty the shared one after every run of
# dpkg, also while another apt-get is between its download and its unpacking.
apt() {
  apt-get -y -q --no-install-recommends -o DPkg::Lock::Timeout=900 -o Dir::Cache::archives="$LAB_DIR/debs" \
    -o APT::Keep-Downloaded-Packages=true -o Dpkg::Options::=--force-unsafe-io -o Dpkg::Options::=--force-confold \
    -o Acquire::Retries=3 "$@" >>"$LAB_DIR/apt.log" 2>&1 || { tail -20 "$LAB_DIR/apt.log" >&2; exit 1; }
}
say "index"
apt update
say "download"
apt --download-only install "${packages[@]}"
say "unpack"
apt install "${packages[@]}"
if need_kernel; then
  say "kernel of the guests"
  mkdir -p "$LAB_DIR/debs/kernel"
  chmod 777 "$LAB_DIR/debs/kernel"
  kernel=$(apt-cache depends linux-image-cloud-amd64 | awk '/Depends:/ {print $2; exit}')
  (cd "$LAB_DIR/debs/kernel" && apt-get -q download "$kernel" >>"$LAB_DIR/apt.log" 2>&1)
fi
say "installed"
