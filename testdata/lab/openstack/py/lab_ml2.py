"""ML2 mechanism driver of the lab: binds every port at once, on any host, without an agent.

On a flat network the port is put on the Linux bridge that is named in [lab] bridge, so that
nova's libvirt driver plugs its tap device there; elsewhere the binding is only a record.
"""
from neutron_lib import constants
from neutron_lib.api.definitions import portbindings
from neutron_lib.plugins.ml2 import api
from oslo_config import cfg

cfg.CONF.register_opts([cfg.StrOpt('bridge', default='br-lab')], 'lab')


class LabMechanismDriver(api.MechanismDriver):
    def initialize(self):
        pass

    @property
    def connectivity(self):
        return portbindings.CONNECTIVITY_L2

    def bind_port(self, context):
        for segment in context.segments_to_bind:
            details = {portbindings.CAP_PORT_FILTER: False}
            if segment[api.NETWORK_TYPE] == constants.TYPE_FLAT:
                details[portbindings.VIF_DETAILS_BRIDGE_NAME] = cfg.CONF.lab.bridge
            context.set_binding(segment[api.ID], portbindings.VIF_TYPE_BRIDGE, details,
                                status=constants.PORT_STATUS_ACTIVE)
            return
