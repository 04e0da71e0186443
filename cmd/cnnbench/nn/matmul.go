package nn

import (
	"gonum.org/v1/gonum/blas"
	"gonum.org/v1/gonum/blas/blas32"
)

// Tile sizes. gonum's Sgemm starts goroutines of its own, and so makes garbage, from 4 blocks of 64 x 64 in the result on;
// a tile stays below that. The inner loop of the plain product runs over tileN floats, that of the transposed one over
// tileK, so both are long.
const (
	tileM     = 64
	tileN     = 192
	tileNTCol = 32
	tileK     = 512
)

// matmul is a matrix product of fixed shape whose result is cut in tiles that are computed at the same time.
type matmul struct {
	team    *team
	m, n, k int
	transB  bool // c = a bᵀ rather than c = a b
	tileN   int
	cols    int // tiles across
	a, b, c []float32
	beta    float32
	tile    func(i int) // made once, so that run makes no garbage
}

// newMatmul returns the product c (m x n) = a (m x k) b (k x n).
func newMatmul(t *team, m, n, k int) *matmul {
	g := &matmul{team: t, m: m, n: n, k: k, tileN: tileN, cols: (n + tileN - 1) / tileN}
	g.tile = g.plain
	return g
}

// newMatmulT returns the product c (m x n) = a (m x k) bᵀ, where b is n x k.
func newMatmulT(t *team, m, n, k int) *matmul {
	g := &matmul{team: t, m: m, n: n, k: k, transB: true, tileN: tileNTCol, cols: (n + tileNTCol - 1) / tileNTCol}
	g.tile = g.transposed
	return g
}

// run computes c = a b + beta c on dense row-major matrices.
func (g *matmul) run(a, b, c []float32, beta float32) {
	g.a, g.b, g.c, g.beta = a, b, c, beta
	g.team.run((g.m+tileM-1)/tileM*g.cols, g.tile)
	g.a, g.b, g.c = nil, nil, nil
}

// bounds returns the part of the result that tile i covers.
func (g *matmul) bounds(i int) (row, rows, col, cols int) {
	row, col = i/g.cols*tileM, i%g.cols*g.tileN
	return row, min(tileM, g.m-row), col, min(g.tileN, g.n-col)
}

func (g *matmul) plain(i int) {
	row, rows, col, cols := g.bounds(i)
	blas32.Gemm(blas.NoTrans, blas.NoTrans, 1,
		blas32.General{Rows: rows, Cols: g.k, Stride: g.k, Data: g.a[row*g.k:]},
		blas32.General{Rows: g.k, Cols: cols, Stride: g.n, Data: g.b[col:]},
		g.beta,
		blas32.General{Rows: rows, Cols: cols, Stride: g.n, Data: g.c[row*g.n+col:]})
}

func (g *matmul) transposed(i int) {
	row, rows, col, cols := g.bounds(i)
	c := blas32.General{Rows: rows, Cols: cols, Stride: g.n, Data: g.c[row*g.n+col:]}
	beta := g.beta
	for k := 0; k < g.k; k += tileK {
		depth := min(tileK, g.k-k)
		blas32.Gemm(blas.NoTrans, blas.Trans, 1,
			blas32.General{Rows: rows, Cols: depth, Stride: g.k, Data: g.a[row*g.k+k:]},
			blas32.General{Rows: cols, Cols: depth, Stride: g.k, Data: g.b[col*g.k+k:]},
			beta, c)
		beta = 1
	}
}

// transpose writes the r x c matrix src to dst as c x r.
func transpose(dst, src []float32, r, c int) {
	for i := range r {
		for j, v := range src[i*c : (i+1)*c] {
			dst[j*r+i] = v
		}
	}
}

// axpy adds alpha*x to y, two slices of the same length.
func axpy(alpha float32, x, y []float32) {
	blas32.Axpy(alpha, blas32.Vector{N: len(x), Inc: 1, Data: x}, blas32.Vector{N: len(y), Inc: 1, Data: y})
}

// dot returns the inner product of two slices of the same length.
func dot(x, y []float32) float32 {
	return blas32.Dot(blas32.Vector{N: len(x), Inc: 1, Data: x}, blas32.Vector{N: len(y), Inc: 1, Data: y})
}
