"""A machine of the lab that is this computer itself: an SSH server in namespaces of its own (node.sh), with the host
key, the logins and the name that cloud-init would give it.
"""
import fnmatch
import json
import os

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


def home(name):
    return os.path.join(os.environ['LAB_DIR'], 'data', 'nodes', name)


def start(name, address, user_data, hostname):
    """Starts a machine at an address. user_data is cloud-init's, in JSON; without an SSH host key nothing is started.
    Tells whether it was."""
    try:
        data = json.loads(user_data.partition('\n')[2])
        host_key, logins = data['ssh_keys']['ed25519_private'], data['ssh_authorized_keys']
    except (ValueError, KeyError, TypeError):
        return False
    stop(name)
    folder = os.path.join(home(name), '.ssh')
    os.makedirs(folder, mode=0o700)
    for file, text in (('host_key', host_key), ('authorized_keys', '\n'.join(logins) + '\n'), ('sshd_config', SSHD % address)):
        with open(os.path.join(folder, file), 'w', opener=lambda path, flags: os.open(path, flags, 0o600)) as f:
            f.write(text)
    processutils.execute(SCRIPT, 'start', name, address, hostname)
    return True


def stop(name):
    processutils.execute(SCRIPT, 'stop', name)


def failure(service, name):
    """Gives the reason why the boot of a machine with a name has to fail, once; None: it has not to.

    A file in the folder of the service in LAB_FAULTS is a failure: its name is a pattern of machines' names, its content
    the reason.
    """
    folder = os.path.join(os.environ['LAB_FAULTS'], service)
    for pattern in sorted(os.listdir(folder)):
        if fnmatch.fnmatch(name, pattern):
            path = os.path.join(folder, pattern)
            with open(path) as f:
                reason = f.read()
            os.unlink(path)
            return reason
    return None
