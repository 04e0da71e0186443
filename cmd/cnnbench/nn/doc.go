// Package nn trains small convolutional nets on the CPU by forward and backward passes in float32.
//
// Terms:
//
//   - A [Model] is a recipe: a name, a picture size and a list of layers.
//   - A [Net] is a model made for one batch size: its layers, its parameters and all its buffers. One goroutine at a time
//     uses a Net; a Net uses up to GOMAXPROCS goroutines itself.
//   - A [Variable] is a named part of the net's parameters. All parameters of a net lie in one slice, all gradients in a
//     second one of the same length and order, so that they can be copied, summed and sent as they are.
//
// Pictures enter as NHWC (number, height, width, channel). Inside, an activation is kept as CHWN, the picture number
// running fastest: every layer then works on long runs of neighbouring floats, a convolution is a product with rows of
// OH*OW*N, and joining branches by channel or flattening needs no copy. It is the layout that suits gonum's kernels,
// which are quick on long rows only.
//
// Every sum is taken in an order that depends on the shapes alone. So the numbers of a run are the same for every
// GOMAXPROCS on one kind of processor; gonum's kernels for amd64 and its portable ones add in different orders, so they
// differ in the last digits between kinds.
//
// Note: the originals' dropout and local response normalisation are left out: they cost little and change no relation
// between the nets' costs.
package nn
