// Package pipenet is a network inside one process: listeners found by address, and connections
// made of memory.
//
// Clients and servers joined by it need no sockets, so that both can run in a bubble of
// testing/synctest, where time is virtual. Unlike net.Pipe a connection has room in it: both
// ends may write first, as the two ends of SSH and TLS do.
package pipenet
