// Package export writes books: tidy CSV, a CSV a figure, and an Excel workbook.
package export

import "dlx.dev/dlx/results"

// All writes every form of a book into dir and returns the files, as dir/name, sorted.
func All(dir string, b *results.Book) (files []string, err error) {
	return nil, nil
}
