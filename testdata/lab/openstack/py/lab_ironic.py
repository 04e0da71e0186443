"""Ironic's deploy interface of the lab: a node that is deployed is this computer itself, as an SSH server in
namespaces of its own (node.sh), at the address of its network data or else of extra["address"].

What cloud-init would read is read from the config drive: user data in JSON with the host key and who may log in.
A file in the folder LAB_FAULTS is a failure, as for Nova's fake driver (nova_virt/lab.py); its pattern is matched
against the name of the instance. Cleaning takes LAB_CLEAN seconds.
"""
import base64
import fnmatch
import gzip
import json
import os
import time

from ironic.common import exception
from ironic.conductor import utils
from ironic.drivers import base
from ironic.drivers.modules import fake
from oslo_concurrency import processutils

SCRIPT = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), 'node.sh')
SSHD = """HostKey /root/.ssh/host_key
AuthorizedKeysFile /root/.ssh/authorized_keys
ListenAddress %s
PermitRootLogin prohibit-password
PasswordAuthentication no
StrictModes no
UseDNS no
UsePAM no
MaxSessions 100
MaxStartups 100
Subsystem sftp internal-sftp
"""


def write(folder, name, text):
    with open(os.path.join(folder, name), 'w', opener=lambda path, flags: os.open(path, flags, 0o600)) as f:
        f.write(text)


class Drive:
    """A config drive, which is an ISO image."""

    def __init__(self, folder, content):
        self.path = os.path.join(folder, 'drive.iso')
        with open(self.path, 'wb') as f:
            f.write(gzip.decompress(base64.b64decode(content)))

    def read(self, name):
        return processutils.execute('isoinfo', '-R', '-i', self.path, '-x', '/openstack/latest/' + name)[0]

    def address(self):
        text = self.read('network_data.json')
        networks = json.loads(text)['networks'] if text else []
        return next((n['ip_address'] for n in networks if n.get('ip_address')), None)


def settings(node, home):
    """Writes what a node's SSH server needs, and gives its address."""
    os.makedirs(home + '/.ssh', mode=0o700)
    drive = node.instance_info.get('configdrive')
    if isinstance(drive, dict):
        drive = utils.build_configdrive(node, drive)
    drive = Drive(home, drive)
    data = json.loads(drive.read('user_data').partition('\n')[2])
    address = drive.address() or node.extra['address']
    write(home + '/.ssh', 'host_key', data['ssh_keys']['ed25519_private'])
    write(home + '/.ssh', 'authorized_keys', '\n'.join(data['ssh_authorized_keys']) + '\n')
    write(home + '/.ssh', 'sshd_config', SSHD % address)
    os.unlink(drive.path)
    return address


class LabDeploy(fake.FakeDeploy):
    @base.deploy_step(priority=100)
    def deploy(self, task):
        node = task.node
        folder, name = os.environ['LAB_FAULTS'], node.instance_info.get('display_name', '')
        for pattern in sorted(os.listdir(folder)):
            if fnmatch.fnmatch(name, pattern):
                path = os.path.join(folder, pattern)
                with open(path) as f:
                    reason = f.read()
                os.unlink(path)
                raise exception.InstanceDeployFailure(reason)
        self.end(node)
        home = os.path.join(os.environ['LAB_DIR'], 'data', 'nodes', node.name)
        processutils.execute(SCRIPT, 'start', node.name, settings(node, home), name or node.name)
        return super().deploy(task)

    def tear_down(self, task):
        self.end(task.node)
        return super().tear_down(task)

    @staticmethod
    def end(node):
        processutils.execute(SCRIPT, 'stop', node.name)

    @base.clean_step(priority=10)
    def erase(self, task):
        time.sleep(float(os.environ.get('LAB_CLEAN', '2')))
