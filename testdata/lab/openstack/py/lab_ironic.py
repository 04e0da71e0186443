"""Ironic's deploy interface of the lab: a node that is deployed is this computer itself (lab_machine), at the address of
its network data or else of extra["address"].

What cloud-init would read is read from the config drive. Failures on request are those of lab_machine. Cleaning takes
LAB_CLEAN seconds.
"""
import base64
import gzip
import json
import os
import tempfile
import time

import lab_machine
from ironic.common import exception
from ironic.conductor import utils
from ironic.drivers import base
from ironic.drivers.modules import fake
from oslo_concurrency import processutils


def drive(node):
    """Reads the user data and the address of a node, None if it has none, from its config drive, which is an ISO image."""
    content = node.instance_info.get('configdrive')
    if isinstance(content, dict):
        content = utils.build_configdrive(node, content)
    with tempfile.NamedTemporaryFile(dir=os.environ['LAB_DIR']) as f:
        f.write(gzip.decompress(base64.b64decode(content)))
        f.flush()

        def read(name):
            return processutils.execute('isoinfo', '-R', '-i', f.name, '-x', '/openstack/latest/' + name)[0]
        text = read('network_data.json')
        networks = json.loads(text)['networks'] if text else []
        return read('user_data'), next((n['ip_address'] for n in networks if n.get('ip_address')), None)


class LabDeploy(fake.FakeDeploy):
    @base.deploy_step(priority=100)
    def deploy(self, task):
        node = task.node
        name = node.instance_info.get('display_name', '')
        reason = lab_machine.failure('ironic', name)
        if reason is not None:
            raise exception.InstanceDeployFailure(reason)
        user_data, address = drive(node)
        lab_machine.start(node.name, address or node.extra['address'], user_data, name or node.name)
        return super().deploy(task)

    def tear_down(self, task):
        lab_machine.stop(task.node.name)
        return super().tear_down(task)

    @base.clean_step(priority=10)
    def erase(self, task):
        time.sleep(float(os.environ.get('LAB_CLEAN', '2')))
