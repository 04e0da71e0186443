"""What is behind a cluster of Magnum where the Kubernetes lab is joined (../../join/start.sh): the API server of that lab,
through a door with certificates of the cluster's own authority, and nodes. Those of a cluster of bare metal are the lab's
own kubelets; those of a cluster of virtual machines are servers of Nova that the cluster makes, with a kubelet inside.
"""
import datetime
import ipaddress
import json
import os

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.oid import NameOID
from magnum.common import clients
from magnum.conductor.handlers.common import cert_manager
from oslo_concurrency import processutils
import requests

SCRIPT = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), 'door.sh')


def joined():
    """Gives the settings of the join, or None."""
    try:
        with open(os.path.join(os.environ['LAB_DIR'], 'kubernetes.json')) as f:
            return json.load(f)
    except FileNotFoundError:
        return None


def folder(cluster):
    return os.path.join(os.environ['LAB_DIR'], 'data', 'clusters', cluster.uuid)


def write(path, text):
    with open(path, 'wb', opener=lambda p, flags: os.open(p, flags, 0o600)) as f:
        f.write(text if isinstance(text, bytes) else text.encode())


def pem(key):
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def name_of(common, organisation=None):
    parts = [x509.NameAttribute(NameOID.COMMON_NAME, common)]
    if organisation:
        parts.append(x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation))
    return x509.Name(parts)


def open_door(context, cluster):
    """Starts the door of a cluster, and returns when it serves."""
    at = folder(cluster)
    os.makedirs(at, mode=0o700, exist_ok=True)
    key = ec.generate_private_key(ec.SECP256R1())
    csr = x509.CertificateSigningRequestBuilder().subject_name(name_of('kube-apiserver')).add_extension(
        x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address('127.0.0.1'))]), critical=False).add_extension(
        x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False).sign(key, hashes.SHA256())
    signed = cert_manager.sign_node_certificate(cluster, csr.public_bytes(serialization.Encoding.PEM).decode(), context=context)
    write(at + '/door.crt', signed)
    write(at + '/door.key', pem(key))
    write(at + '/ca.crt', cert_manager.get_cluster_ca_certificate(cluster, context).get_certificate())
    processutils.execute(SCRIPT, 'start', cluster.uuid)


def address(cluster):
    """Gives where the door of a cluster is; None: it is not open yet."""
    try:
        with open(folder(cluster) + '/address') as f:
            return f.read()
    except FileNotFoundError:
        return None


def close_door(cluster):
    processutils.execute(SCRIPT, 'stop', cluster.uuid)


def prefix(cluster):
    return 'kube-%s-' % cluster.uuid[:8]


def names(cluster):
    return [prefix(cluster) + str(i) for i in range(cluster.default_ng_worker.node_count)]


def virtual(cluster):
    return cluster.cluster_template.server_type == 'vm'


class Authority:
    """The certificate authority of the Kubernetes lab."""

    def __init__(self, pki):
        with open(pki + '/ca.crt', 'rb') as f:
            self.text = f.read()
        self.cert = x509.load_pem_x509_certificate(self.text)
        with open(pki + '/ca.key', 'rb') as f:
            self.key = serialization.load_pem_private_key(f.read(), None)

    def issue(self, subject, usage, addresses=()):
        key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.utcnow()
        b = x509.CertificateBuilder().subject_name(subject).issuer_name(self.cert.subject).public_key(key.public_key()).serial_number(
            x509.random_serial_number()).not_valid_before(now - datetime.timedelta(hours=1)).not_valid_after(
            now + datetime.timedelta(days=3650)).add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        if addresses:
            b = b.add_extension(x509.SubjectAlternativeName([x509.IPAddress(a) for a in addresses]), critical=False)
        return b.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode(), pem(key).decode()


def user_data(join, name):
    """The script that makes a guest a node."""
    ca = Authority(join['pki'])
    crt, key = ca.issue(name_of('system:node:' + name, 'system:nodes'), ExtendedKeyUsageOID.CLIENT_AUTH)
    # Which address the guest gets is not known yet: the certificate is good for all.
    serving = ca.issue(name_of(name), ExtendedKeyUsageOID.SERVER_AUTH, list(ipaddress.ip_network(join['guests']).hosts()))
    kubeconfig = json.dumps({
        'apiVersion': 'v1', 'kind': 'Config', 'current-context': 'lab',
        'clusters': [{'name': 'lab', 'cluster': {'server': join['server'], 'certificate-authority': '/node/ca.crt'}}],
        'users': [{'name': 'node', 'user': {'client-certificate': '/node/node.crt', 'client-key': '/node/node.key'}}],
        'contexts': [{'name': 'lab', 'context': {'cluster': 'lab', 'user': 'node'}}]})
    files = {'ca.crt': ca.text.decode(), 'node.crt': crt, 'node.key': key, 'kubelet.crt': serving[0], 'kubelet.key': serving[1], 'kubeconfig': kubeconfig}
    return '#!/bin/sh\n' + ''.join("cat >/node/%s <<'END'\n%s\nEND\n" % f for f in files.items()) + '/node/join %s lab.local/kind=vm\n' % name


def make_nodes(context, cluster):
    join, osc, group = joined(), clients.OpenStackClients(context), cluster.default_ng_worker
    nova = osc.nova()
    flavor = next(f for f in nova.flavors.list() if group.flavor_id in (f.id, f.name))
    image = next(i for i in osc.glance().images.list() if group.image_id in (i.id, i.name))
    network = osc.neutron().list_networks(name=join['network'])['networks'][0]['id']
    for name in names(cluster):
        nova.servers.create(name, image.id, flavor, nics=[{'net-id': network}], availability_zone=join['zone'], userdata=user_data(join, name))


def servers(context, cluster):
    search = {'name': '^' + prefix(cluster)}
    if context.is_admin:   # of Magnum itself, which looks after all projects' clusters
        search['all_tenants'] = 1
    return clients.OpenStackClients(context).nova().servers.list(search_opts=search)


def ask(method, path, **kwargs):
    join = joined()
    pki = join['pki']
    return requests.request(method, join['server'] + path, verify=pki + '/ca.crt', cert=(pki + '/admin.crt', pki + '/admin.key'), timeout=20, **kwargs)


def ready_nodes(cluster):
    """Gives the addresses of those nodes of a cluster that are ready, with the GPUs that the lab's nodes say that they have."""
    out = []
    for name in names(cluster):
        node = ask('GET', '/api/v1/nodes/' + name)
        if not node.ok:
            continue
        status = node.json()['status']
        if not any(c['type'] == 'Ready' and c['status'] == 'True' for c in status.get('conditions', [])):
            continue
        gpu = joined()['gpu']
        if gpu not in status['allocatable']:
            ask('PATCH', '/api/v1/nodes/%s/status' % name, headers={'Content-Type': 'application/json-patch+json'},
                json=[{'op': 'add', 'path': '/status/capacity/' + gpu.replace('/', '~1'), 'value': '2'}])
            continue
        out += [a['address'] for a in status['addresses'] if a['type'] == 'InternalIP']
    return out


def forget_nodes(cluster):
    for name in names(cluster):
        ask('DELETE', '/api/v1/nodes/' + name)
