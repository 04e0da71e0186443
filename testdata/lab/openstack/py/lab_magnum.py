"""Magnum cluster driver of the lab: no heat, no servers; a cluster is a record that becomes COMPLETE.

It serves cluster templates whose image has os_distro=lab. Labels of the cluster steer it:
  lab_seconds=N         an operation takes at least N seconds (magnum looks every 10 s anyway)
  lab_fail=create|delete the operation ends in CREATE_FAILED / DELETE_FAILED
  lab_api_address=URL   what the cluster reports as its API address
Trusts and the cluster's certificate authority are the real ones.
"""
import datetime

from magnum.common import clients
from magnum.conductor.handlers.common import cert_manager
from magnum.conductor.handlers.common import trust_manager
from magnum.drivers.common import driver
from oslo_utils import timeutils
from oslo_utils import uuidutils


class Driver(driver.Driver):
    provides = [{'server_type': t, 'os': 'lab', 'coe': 'kubernetes'} for t in ('vm', 'bm')]

    def create_cluster(self, context, cluster, cluster_create_timeout):
        cluster.stack_id = uuidutils.generate_uuid()

    def update_cluster(self, context, cluster, scale_manager=None, rollback=False):
        pass

    def upgrade_cluster(self, context, cluster, cluster_template, max_batch_size, nodegroup, scale_manager=None,
                        rollback=False):
        pass

    def delete_cluster(self, context, cluster):
        pass

    def resize_cluster(self, context, cluster, resize_manager, node_count, nodes_to_remove, nodegroup=None):
        pass

    def create_nodegroup(self, context, cluster, nodegroup):
        nodegroup.stack_id = cluster.stack_id
        nodegroup.save()

    def update_nodegroup(self, context, cluster, nodegroup):
        pass

    def delete_nodegroup(self, context, cluster, nodegroup):
        pass

    def create_federation(self, context, federation):
        raise NotImplementedError()

    update_federation = delete_federation = create_federation

    def update_cluster_status(self, context, cluster, use_admin_ctx=False):
        labels = cluster.labels or {}
        since = cluster.updated_at or cluster.created_at
        age = datetime.timedelta(seconds=float(labels.get('lab_seconds', 0)))
        if since and timeutils.utcnow(with_timezone=since.tzinfo is not None) - since < age:
            return
        action = cluster.status.rsplit('_IN_PROGRESS', 1)[0]
        failed = labels.get('lab_fail', '').upper() == action
        if action == 'DELETE' and not failed:
            osc = clients.OpenStackClients(context)
            trust_manager.delete_trustee_and_trust(osc, context, cluster)
            cert_manager.delete_certificates_from_cluster(cluster, context=context)
            cert_manager.delete_client_files(cluster, context=context)
        elif not failed:
            cluster.api_address = labels.get('lab_api_address', 'https://127.0.0.1:6443')
            cluster.coe_version = labels.get('kube_tag', 'v1.0.0-lab')
        n = 10
        for ng in cluster.nodegroups:
            ng.node_addresses = ['192.0.2.%d' % (n + i) for i in range(ng.node_count)]
            n += ng.node_count
            if not ng.is_default and ng.status == 'DELETE_IN_PROGRESS':
                ng.destroy()
                continue
            ng.status = action + ('_FAILED' if failed else '_COMPLETE')
            ng.save()
        cluster.status = action + ('_FAILED' if failed else '_COMPLETE')
        cluster.status_reason = 'lab_fail=' + labels['lab_fail'] if failed else None
        cluster.save()
