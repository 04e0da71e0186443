// Package data feeds a net with pictures: synthetic ones that are made once and kept in memory, or an image set on disk.
//
// An image set is a directory of shard files named train-00000-of-00004 and so on. A shard is a sequence of TFRecord
// frames; the payload of a frame is one picture in a format of our own, see [Picture]. Upstream's payload is an encoded
// JPEG inside a protocol buffer; ours holds plain bytes, so reading costs a checksum, a resize and a conversion, and no
// decompression.
package data
