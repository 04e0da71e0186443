// Package sandbox is a small OpenStack cloud inside one process.
//
// It serves the parts of Keystone v3, Nova 2.1, Glance v2, Neutron v2.0, Ironic v1 and Magnum v1
// that dlx and other simple clients use, with the states, codes and texts of the real servers; whatever
// it does not serve it answers with 501 and says so. Its servers and nodes are real local
// processes in a folder of their own, behind a real SSH server, at addresses of their own.
//
// Everything is kept in a folder (Config.State): after the program has died at any moment, a
// new Start with the same folder serves the same machines at the same addresses, and processes
// that ran on them detached go on. Removing the last thing leaves the folder empty.
//
// A machine is held to its cores by affinity and, where this program may make control groups, by
// one of its own; its metadata say so (cpu.limit). With cgroups of version 1 that takes write
// access to the groups that the program is in, with version 2 a delegated group that holds
// nothing else: systemd-run --user --scope -p Delegate=yes dlx run. It never takes root.
//
// Magnum makes clusters out of servers, and each has a Kubernetes API server of its own: core, batch
// and RBAC objects with watches, garbage collection, quotas, limit ranges, levels of Pod Security, the Job controller, a scheduler, and
// kubelets whose containers are local processes on this computer's own file system, which they
// see read-only. Where the kernel gives namespaces they get process, mount, host name and IPC
// namespaces of their own (the network is everybody's: a pod has an address, not a port space);
// elsewhere the paths of their mounts are replaced in commands and environment, and peers' names
// are in the file DLX_SANDBOX_HOSTS. The annotation sandbox.dlx.dev/isolation of nodes says which.
//
// Ordinary clients work on it: openstackclient with its plugins of Magnum and Ironic, and kubectl,
// but for explain, port-forward and attach. CloudsYAML and Cluster give them
// their files; dlx sandbox serve does all of it.
//
// Images called sandbox, or sandbox/anything, are known. Limits of memory are not enforced.
//
// What was measured here says nothing about clouds: all machines share one computer.
package sandbox
