package data

import (
	"encoding/binary"
	"fmt"
)

// pictureMagic opens each payload; its last byte is the version of the format.
const pictureMagic = "dlxp\x01"

// pictureHead is the length in bytes of a payload before its pixels.
const pictureHead = len(pictureMagic) + 4 + 2 + 2 + 1

// MaxSide is the largest height and width of a stored picture, in pixels.
const MaxSide = 1024

// Picture is one labelled picture. Its payload is, in little-endian order: the 5 bytes "dlxp" and 1, 4 bytes label,
// 2 bytes height, 2 bytes width, 1 byte channels (always 3), then height*width*channels bytes of pixels in HWC order.
type Picture struct {
	Label         uint32
	Height, Width int    // in pixels, 1 to [MaxSide]
	Pixels        []byte // height*width*3 bytes, HWC, red first
}

// appendPayload appends the payload of p to dst.
func (p Picture) appendPayload(dst []byte) []byte {
	dst = append(dst, pictureMagic...)
	dst = binary.LittleEndian.AppendUint32(dst, p.Label)
	dst = binary.LittleEndian.AppendUint16(dst, uint16(p.Height))
	dst = binary.LittleEndian.AppendUint16(dst, uint16(p.Width))
	dst = append(dst, 3)
	return append(dst, p.Pixels...)
}

// parsePicture reads a payload. The pixels are part of it, not a copy.
func parsePicture(b []byte) (Picture, error) {
	if len(b) < pictureHead || string(b[:len(pictureMagic)]) != pictureMagic {
		return Picture{}, fmt.Errorf("%w: payload is not a picture of cnnbench (it starts with %q; want %q)",
			ErrCorrupt, b[:min(len(b), len(pictureMagic))], pictureMagic)
	}
	at := len(pictureMagic)
	p := Picture{
		Label:  binary.LittleEndian.Uint32(b[at:]),
		Height: int(binary.LittleEndian.Uint16(b[at+4:])),
		Width:  int(binary.LittleEndian.Uint16(b[at+6:])),
		Pixels: b[pictureHead:],
	}
	if channels := b[at+8]; channels != 3 {
		return Picture{}, fmt.Errorf("%w: picture has %d channels; want 3", ErrCorrupt, channels)
	}
	if p.Height < 1 || p.Width < 1 || p.Height > MaxSide || p.Width > MaxSide {
		return Picture{}, fmt.Errorf("%w: picture of %dx%d pixels; want 1x1 to %dx%d",
			ErrCorrupt, p.Height, p.Width, MaxSide, MaxSide)
	}
	if want := p.Height * p.Width * 3; len(p.Pixels) != want {
		return Picture{}, fmt.Errorf("%w: picture of %dx%d pixels has %d bytes; want %d",
			ErrCorrupt, p.Height, p.Width, len(p.Pixels), want)
	}
	return p, nil
}

// Float writes the picture to dst as size x size x 3 floats in HWC order, scaled from 0..255 to -1..1. Each pixel is the
// mean of the source pixels that it covers.
func (p Picture) Float(dst []float32, size int) {
	for y := range size {
		y0, y1 := y*p.Height/size, max((y+1)*p.Height/size, y*p.Height/size+1)
		for x := range size {
			x0, x1 := x*p.Width/size, max((x+1)*p.Width/size, x*p.Width/size+1)
			var sum [3]int
			for sy := y0; sy < y1; sy++ {
				row := p.Pixels[(sy*p.Width+x0)*3 : (sy*p.Width+x1)*3]
				for i := 0; i+2 < len(row); i += 3 {
					sum[0] += int(row[i])
					sum[1] += int(row[i+1])
					sum[2] += int(row[i+2])
				}
			}
			scale := 1 / (127.5 * float32((y1-y0)*(x1-x0)))
			out := dst[(y*size+x)*3:][:3]
			for c, s := range sum {
				out[c] = float32(s)*scale - 1
			}
		}
	}
}
