"""Nova's fake compute driver, with failures on request (lab_machine.failure).

A server whose user data brings an SSH host key is this computer itself (lab_machine), and says so by a metadatum, so that
nobody takes its numbers for those of a virtual machine; any other is a record and runs nothing. User data is echoed in the
console log.
"""
import base64

import lab_machine
from nova import exception
from nova.virt import fake


class LabDriver(fake.FakeDriver):
    vcpus = 64
    memory_mb = 262144
    local_gb = 4096

    def spawn(self, context, instance, image_meta, injected_files, admin_password, allocations, network_info=None, **kwargs):
        reason = lab_machine.failure('nova', instance.display_name)
        if reason is not None:
            raise exception.BuildAbortException(instance_uuid=instance.uuid, reason=reason)
        super().spawn(context, instance, image_meta, injected_files, admin_password, allocations, network_info=network_info, **kwargs)
        addresses = [ip['address'] for vif in network_info or [] for ip in vif.fixed_ips()]
        if addresses and lab_machine.start(instance.uuid, addresses[0], user_data(instance), instance.display_name):
            instance.metadata = dict(instance.metadata, **{'sandbox.dlx.dev': 'a process of the computer of the lab'})
            instance.save()

    def destroy(self, context, instance, *args, **kwargs):
        lab_machine.stop(instance.uuid)
        return super().destroy(context, instance, *args, **kwargs)

    def get_console_output(self, context, instance):
        return ('lab: %s on %s\nuser data: %s\n' % (instance.display_name, self._host, user_data(instance))).encode()


def user_data(instance):
    return base64.b64decode(instance.user_data or '').decode(errors='replace')
