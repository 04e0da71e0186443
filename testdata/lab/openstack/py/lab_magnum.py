"""Magnum cluster driver of the lab, without Heat: a cluster is a record that becomes COMPLETE, unless the Kubernetes lab
is joined (lab_cluster): then it can be used.

It serves cluster templates whose image has os_distro=lab. Labels of the cluster steer it:
  lab_seconds=N         an operation takes at least N seconds (magnum looks every 10 s anyway)
  lab_fail=create|delete the operation ends in CREATE_FAILED / DELETE_FAILED
  lab_api_address=URL   what the cluster reports as its API address
Trusts and the cluster's certificate authority are the real ones.
"""
import datetime

import lab_cluster
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
        if lab_cluster.joined():
            lab_cluster.open_door(context, cluster)
            if lab_cluster.virtual(cluster):
                lab_cluster.make_nodes(context, cluster)

    def update_cluster(self, context, cluster, scale_manager=None, rollback=False):
        pass

    def upgrade_cluster(self, context, cluster, cluster_template, max_batch_size, nodegroup, scale_manager=None,
                        rollback=False):
        pass

    def delete_cluster(self, context, cluster):
        if lab_cluster.joined():
            for server in lab_cluster.servers(context, cluster):
                server.delete()

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
        if action == 'CREATE' and lab_cluster.joined() and not lab_cluster.address(cluster):
            return
        if action == 'DELETE' and lab_cluster.joined() and not failed:
            lab_cluster.close_door(cluster)
        addresses = ['192.0.2.%d' % (10 + i) for i in range(sum(ng.node_count for ng in cluster.nodegroups))]
        if lab_cluster.joined() and lab_cluster.virtual(cluster) and not failed:
            mine = lab_cluster.servers(context, cluster)
            if action == 'DELETE':
                if mine:
                    return
                lab_cluster.forget_nodes(cluster)
            else:
                broken = [s for s in mine if s.status == 'ERROR']
                nodes = lab_cluster.ready_nodes(cluster)
                if not broken and len(nodes) < cluster.default_ng_worker.node_count:
                    return
                if broken:
                    failed, labels = True, {'lab_fail': '%s: %s' % (broken[0].name, getattr(broken[0], 'fault', {}).get('message', 'ERROR'))}
                addresses = ['192.0.2.10'] * cluster.default_ng_master.node_count + nodes
        if action == 'DELETE' and not failed:
            osc = clients.OpenStackClients(context)
            trust_manager.delete_trustee_and_trust(osc, context, cluster)
            cert_manager.delete_certificates_from_cluster(cluster, context=context)
            cert_manager.delete_client_files(cluster, context=context)
        elif not failed:
            cluster.api_address = labels.get('lab_api_address', lab_cluster.address(cluster) if lab_cluster.joined() else 'https://127.0.0.1:6443')
            cluster.coe_version = labels.get('kube_tag', 'v1.0.0-lab')
        for ng in sorted(cluster.nodegroups, key=lambda ng: ng.role):   # the master's first
            ng.node_addresses, addresses = addresses[:ng.node_count], addresses[ng.node_count:]
            if not ng.is_default and ng.status == 'DELETE_IN_PROGRESS':
                ng.destroy()
                continue
            ng.status = action + ('_FAILED' if failed else '_COMPLETE')
            ng.save()
        cluster.status = action + ('_FAILED' if failed else '_COMPLETE')
        cluster.status_reason = 'lab_fail=' + labels['lab_fail'] if failed else None
        cluster.save()
