#!/usr/bin/python3
"""Seeds the lab: `identity` (projects, users, catalog), `objects` (flavors, image, network), `wait HOST...` (until Nova knows them)."""
import io
import os
import sys
import time

import openstack

A = os.environ['LAB_ADDR']
TIERS = os.environ['LAB_TIERS'].split()
PASSWORD = os.environ['LAB_PASSWORD']
for v in [v for v in os.environ if v.startswith('OS_')]:  # of a shell that knows another cloud, or this one
    del os.environ[v]
os.environ['OS_CLIENT_CONFIG_FILE'] = os.path.join(os.environ['LAB_DIR'], 'clouds.yaml')


def retry(fn, seconds=90):
    end = time.time() + seconds
    while True:
        try:
            return fn()
        except Exception:
            if time.time() > end:
                raise
            time.sleep(0.3)


c = retry(lambda: openstack.connect(cloud='lab-admin'))
retry(c.authorize)


def identity():
    i = c.identity
    roles = {r.name: r for r in i.roles()}
    for name in ('service', 'creator'):
        if name not in roles:
            roles[name] = i.create_role(name=name)
    have = {p.name: p for p in i.projects()}
    for name in ('service', 'lab', 'vm', 'nets', 'guests', 'other'):
        if name not in have:
            have[name] = i.create_project(name=name, domain_id='default')
    users = {u.name: u for u in i.users()}
    for name, pw, project, rr in (('lab-service', PASSWORD, 'service', ('admin', 'service')),
                                  ('lab', PASSWORD, 'lab', ('member', 'reader')),
                                  ('vm', PASSWORD, 'vm', ('member', 'reader')),
                                  ('nets', PASSWORD, 'nets', ('member', 'reader')),
                                  ('guests', PASSWORD, 'guests', ('member', 'reader')),
                                  ('other', PASSWORD, 'other', ('member', 'reader')),
                                  ('reader', PASSWORD, 'lab', ('reader',))):
        u = users.get(name) or i.create_user(name=name, password=pw, domain_id='default', default_project_id=have[project].id)
        for r in rr:
            i.assign_project_role_to_user(have[project], u, roles[r])
    catalog = [('glance', 'image', 9292, ''), ('nova', 'compute', 8774, '/v2.1'),
               ('placement', 'placement', 8778, ''), ('neutron', 'network', 9696, '')]
    if 'ironic' in TIERS:
        catalog.append(('ironic', 'baremetal', 6385, ''))
    if 'magnum' in TIERS:
        catalog.append(('magnum', 'container-infra', 9511, '/v1'))
    have = {s.type for s in i.services()}
    for name, typ, port, path in catalog:
        if typ in have:
            continue
        s = i.create_service(name=name, type=typ)
        for interface in ('public', 'internal', 'admin'):
            i.create_endpoint(service_id=s.id, interface=interface, region_id='RegionOne', url='http://%s:%d%s' % (A, port, path))


def objects():
    have = {f.name for f in c.compute.flavors()}
    for name, vcpus, ram, disk in (('lab.tiny', 1, 512, 1), ('lab.small', 2, 2048, 10), ('lab.large', 8, 16384, 40),
                                   ('lab.half', 1, 163840, 1),         # two do not fit a host
                                   ('lab.impossible', 80, 16384, 40960)):  # fits none
        if name not in have:
            c.compute.create_flavor(name=name, vcpus=vcpus, ram=ram, disk=disk)
    if not list(c.image.images(name='lab-image')):
        c.create_image('lab-image', container_format='bare', disk_format='raw', visibility='public', wait=True,
                       data=io.BytesIO(b'lab' * 1024), allow_duplicates=True, use_import=False)
    lab = c.identity.find_project('lab')
    if not c.network.find_network('lab-net', project_id=lab.id):
        n = c.network.create_network(name='lab-net', project_id=lab.id, is_shared=True)
        c.network.create_subnet(name='lab-subnet', network_id=n.id, project_id=lab.id, ip_version=4, cidr='10.66.0.0/16',
                                enable_dhcp=False)
    if not c.network.find_network('lab-external'):
        n = c.network.create_network(name='lab-external', is_router_external=True, is_shared=True)
        c.network.create_subnet(name='lab-external', network_id=n.id, ip_version=4, cidr='203.0.113.0/24', enable_dhcp=False)


def ironic():
    """Enrolls bare metal nodes and makes them available: 4 that Nova sees, and LAB_METAL_NODES that the project lab owns."""
    # Only an administrator of the system may enroll nodes for another project.
    b = openstack.connect(region_name='RegionOne', auth={
        'auth_url': c.config.auth['auth_url'], 'username': 'admin', 'password': PASSWORD, 'user_domain_name': 'Default', 'system_scope': 'all'}).baremetal
    retry(lambda: list(b.drivers()))
    have = {n.name for n in b.nodes()}
    kinds = [('bm%d', 4, 'baremetal', 'service', '10.66.255.%d'), ('metal%d', int(os.environ['LAB_METAL_NODES']), 'metal', 'lab', '10.66.254.%d')]
    for name, count, kind, owner, address in kinds:
        owner = c.identity.find_project(owner).id
        for i in range(1, count + 1):
            if name % i in have:
                continue
            n = b.create_node(provision_state='enroll', name=name % i, driver='fake-hardware', resource_class=kind, owner=owner, extra={'address': address % i},
                              properties={'cpus': 16, 'memory_mb': 65536, 'local_gb': 400, 'cpu_arch': 'x86_64'})
            b.create_port(node_id=n.id, address='52:54:00:00:%02x:%02x' % (len(kind), i))
    # From enrolled to available, all at once. A fake node is born with no power state; nova and ironic's
    # allocations both skip such a node.
    asked, end = set(), time.time() + 180
    while True:
        waiting = [n for n in b.nodes(details=True) if n.power_state is None or n.provision_state not in ('available', 'active')]
        if not waiting:
            return
        if time.time() > end:
            sys.exit('not available: %s' % [(n.name, n.provision_state, n.power_state) for n in waiting])
        for n in waiting:
            step = {'enroll': 'manage', 'manageable': 'provide', 'available': 'power off'}.get(n.provision_state)
            if step and (n.id, step) not in asked:
                asked.add((n.id, step))
                (b.set_node_power_state if step == 'power off' else b.set_node_provision_state)(n, step)
        time.sleep(1)


def ironic_objects():
    if not c.compute.find_flavor('lab.metal'):
        f = c.compute.create_flavor(name='lab.metal', vcpus=16, ram=65536, disk=400)
        c.compute.create_flavor_extra_specs(f, {'resources:CUSTOM_BAREMETAL': '1', 'resources:VCPU': '0',
                                                'resources:MEMORY_MB': '0', 'resources:DISK_GB': '0'})
    zone('metal', 'ironic1')


def magnum():
    """The domain in which magnum keeps one user per cluster, and the admin of it."""
    i = c.identity
    roles = {r.name: r for r in i.roles()}
    for domain, user in (('magnum', 'lab-magnum'),):
        d = i.find_domain(domain) or i.create_domain(name=domain)
        u = next(iter(i.users(domain_id=d.id, name=user)), None) or i.create_user(name=user, password=PASSWORD, domain_id=d.id)
        i.assign_domain_role_to_user(d, u, roles['admin'])


def magnum_objects():
    for name, distro in (('lab-kube', 'lab'),):
        if not list(c.image.images(name=name)):
            c.create_image(name, container_format='bare', disk_format='raw', visibility='public', wait=True,
                           data=io.BytesIO(b'lab' * 1024), allow_duplicates=True, use_import=False, os_distro=distro)
    template('lab-kube', image_id='lab-kube', flavor_id='lab.small', labels={'kube_tag': 'v1.27.3', 'of_template': 'yes'})


def template(name, **fields):
    """Makes a cluster template of the project lab."""
    m = openstack.connect(cloud='lab').container_infrastructure_management
    headers = {'OpenStack-API-Version': 'container-infra 1.10'}
    if not [t for t in m.get('/clustertemplates', headers=headers).json()['clustertemplates'] if t['name'] == name]:
        r = m.post('/clustertemplates', headers=headers, json={
            'name': name, 'coe': 'kubernetes', 'external_network_id': 'lab-external', 'master_flavor_id': 'lab.small', 'network_driver': 'flannel',
            'floating_ip_enabled': False, 'tls_disabled': False, 'public': False, 'registry_enabled': False, **fields})
        if r.status_code >= 300:
            sys.exit(r.text)


def guests_objects():
    machine('lab-guest', 'initrd.gz')
    guest_flavor('lab.guest', 256)
    lab = c.identity.find_project('lab')
    if not c.network.find_network('lab-guests'):
        n = c.network.create_network(name='lab-guests', project_id=lab.id, is_shared=True, provider_network_type='flat', provider_physical_network='guests')
        c.network.create_subnet(name='lab-guests', network_id=n.id, project_id=lab.id, ip_version=4, enable_dhcp=False,
                                cidr=os.environ.get('LAB_GUEST_NET', '10.77.0.0/24'), gateway_ip=os.environ.get('LAB_GUEST_GW', '10.77.0.1'))
    zone('guests', *('qemu%d' % i for i in range(1, int(os.environ['LAB_GUEST_HOSTS']) + 1)))


def machine(image, initrd, **properties):
    """Makes the image of a guest that boots a kernel and an initrd of the folder guest."""
    d = os.path.join(os.environ['LAB_DIR'], 'data', 'guest')
    ids = {}
    for part, fmt, path in (('-kernel', 'aki', 'vmlinuz'), ('-initrd', 'ari', initrd), ('', 'qcow2', 'disk.qcow2')):
        have = list(c.image.images(name=image + part))
        extra = {}
        if not part:
            extra = {'kernel_id': ids['-kernel'], 'ramdisk_id': ids['-initrd'], 'hw_rng_model': 'virtio',
                     'os_command_line': 'console=ttyS0 quiet panic=5', **properties}
        with open(os.path.join(d, path), 'rb') as f:
            ids[part] = (have[0] if have else c.create_image(
                image + part, disk_format=fmt, container_format=fmt if fmt in ('aki', 'ari') else 'bare', visibility='public', wait=True,
                data=f, allow_duplicates=True, use_import=False, **extra)).id


def guest_flavor(name, ram):
    if not c.compute.find_flavor(name):
        f = c.compute.create_flavor(name=name, vcpus=1, ram=ram, disk=1)
        c.compute.create_flavor_extra_specs(f, {'hw_rng:allowed': 'True'})


def join():
    """What clusters are made of that can be used."""
    machine('lab-kube-node', 'kube-node.gz', os_distro='lab')
    guest_flavor('lab.kube-node', 3072)
    labels = {'kube_tag': 'v1.37.2'}
    template('lab-kube-vm', image_id='lab-kube-node', flavor_id='lab.kube-node', server_type='vm', labels=labels)
    template('lab-kube-bm', image_id='lab-kube', flavor_id='lab.metal', server_type='bm', labels=labels)


def zone(name, *hosts):
    """Real machines have zones of their own; a request that names no zone goes to the fake hosts."""
    agg = c.compute.find_aggregate(name) or c.compute.create_aggregate(name=name, availability_zone=name)

    def add(host):
        if host not in (c.compute.get_aggregate(agg).hosts or []):
            c.compute.add_host_to_aggregate(agg, host)
    for host in hosts:
        retry(lambda: add(host))


def wait(hosts):
    """Until each host is up and Nova's cell has found it."""
    end, up, found = time.time() + 240, set(), set()
    while time.time() < end:
        try:   # the details are asked of the hosts, which may not answer yet
            up = {s.host for s in c.compute.services(binary='nova-compute') if s.state == 'up'}
            found = {h.service_details['host'] for h in c.compute.hypervisors(details=True)}
        except openstack.exceptions.HttpException:
            continue
        if hosts <= up & found:
            return
        time.sleep(0.5)
    sys.exit('waited for hosts %s: up are %s, found are %s' % tuple(sorted(x) for x in (hosts, up, found)))


if sys.argv[1] == 'wait':
    wait(set(sys.argv[2:]))
else:
    globals()[sys.argv[1]]()
