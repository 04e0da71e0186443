"""Nova's fake compute driver, which boots nothing, with failures on request.

A file in the folder LAB_FAULTS is a failure: its name is a pattern of server names, its content the
reason. The next server that fits fails to be built, and the file goes.
User data is echoed in the console log.
"""
import base64
import fnmatch
import os

from nova import exception
from nova.virt import fake


class LabDriver(fake.FakeDriver):
    vcpus = 64
    memory_mb = 262144
    local_gb = 4096

    def spawn(self, context, instance, *args, **kwargs):
        folder = os.environ['LAB_FAULTS']
        for name in sorted(os.listdir(folder)):
            if fnmatch.fnmatch(instance.display_name, name):
                path = os.path.join(folder, name)
                with open(path) as f:
                    reason = f.read()
                os.unlink(path)
                raise exception.BuildAbortException(instance_uuid=instance.uuid, reason=reason)
        return super().spawn(context, instance, *args, **kwargs)

    def get_console_output(self, context, instance):
        data = base64.b64decode(instance.user_data or '').decode(errors='replace')
        return ('lab: %s on %s\nuser data: %s\n' % (instance.display_name, self._host, data)).encode()
