// Package openstack makes machines of OpenStack: servers of Nova, nodes of Ironic, and nodes of
// clusters of Magnum, whose kubeconfig it hands on.
//
// A machine's spec is a [Spec] as JSON; flavors, images, networks and cluster templates go by name
// or ID.
//
// Nothing is trusted blindly and nothing is remembered: the login key of a run and the host key
// of each machine are derived from the run's secret, the host key reaches the machine as user
// data of cloud-init, and whatever belongs to a run is found again by its tags; a keypair, which has
// none, carries them as the comment of its key. All waiting of a provider shares one list request a
// tick.
//
// Ironic alone (without Nova) hands out no addresses: the provider reads the address of a node
// from its extra["address"], which the operator sets when the node is enrolled.
package openstack
