// Package cluster lets the processes of one training run share variables over TCP: parameter servers keep them, workers
// send gradients and fetch the result. All workers are in step.
//
// A run with P servers and W workers works like this:
//
//  1. Each server keeps an equal part of the flat slice of parameters, see [Part]. It makes the first values itself, from
//     the same model and seed as the workers.
//  2. A worker says [Hello] to each server. A server refuses a worker whose run is not its own.
//  3. In each step a worker fetches the parameters, and sends the mean gradient of its devices. When the gradients of all
//     workers are there, a server adds them in the order of the workers, applies the mean and answers all of them.
//  4. A worker that ends says so. If one is lost, the servers tell the others at their next request, so that nobody waits
//     for ever. When the last worker has gone, a server is as new and serves another run; a worker that comes before waits.
//
// A message to a server is one byte of kind, then what the kind says; a message from it is a byte 0 and the answer, or a
// byte 1, four bytes length and a text that says what is wrong. Numbers are little-endian, parameters float32. There is
// neither encryption nor a password, as in upstream's protocol: it belongs in a private network.
package cluster
