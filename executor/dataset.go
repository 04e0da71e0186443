package executor

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"dlx.dev/dlx/backends"
	"dlx.dev/dlx/compiler/plan"
	"dlx.dev/dlx/executor/journal"
)

// Scripts that stage a dataset. They run on the machine and print its folder, its size in bytes
// and its checksum: the SHA-256 of the sorted list that sha256sum makes of its files, which is
//
//	cd FOLDER && find . -type f | LC_ALL=C sort | while IFS= read -r f; do sha256sum "$f"; done | sha256sum
//
// What is made lies beside the staged dlx that makes it, in a folder that every launcher keeps as
// long as the machine. A size that differs from the declared one is told without reading the files,
// of which there may be a hundred GB.
const (
	sumFiles  = `find . -type f | LC_ALL=C sort | while IFS= read -r f; do sha256sum "$f"; done | sha256sum | cut -d' ' -f1`
	sizeFiles = `find . -type f -exec wc -c {} + | awk '$2 != "total" { s += $1 } END { printf "%.0f\n", s }'`

	makeDataset  = `d="$(dirname "$1")/data/$2-$3-$4"; [ -e "$d.done" ] || { rm -rf "$d" && mkdir -p "$d" && "$1" cnnbench --make_data="$d" --make_images="$3" --tf_random_seed="$4" >&2 && : > "$d.done"; } && cd "$d" && pwd && ` + sizeFiles + ` && ` + sumFiles
	checkDataset = `cd "$1" && pwd && n=$(` + sizeFiles + `) && echo "$n" && if [ "$2" = 0 ] || [ "$2" = "$n" ]; then ` + sumFiles + `; else echo; fi`
)

// dataset makes or checks a dataset on machine i and returns its folder there, and what it is.
func (j *job) dataset(ctx context.Context, i int, d *plan.Dataset) (string, journal.FileSum, error) {
	op := "dataset " + d.Name
	var out string
	var err error
	if d.Images > 0 {
		self := j.staged[selfStaging]
		if len(self) <= i {
			return "", journal.FileSum{}, backends.Errorf(backends.Internal, op, "dlx itself is not staged")
		}
		out, err = j.helper(ctx, i, "make-"+d.Name, "sh", "-c", makeDataset, "sh", self[i], d.Name, fmt.Sprint(d.Images), fmt.Sprint(d.Seed))
	} else {
		// The checksum is for whoever lists the processes.
		out, err = j.helper(ctx, i, "sum-"+d.Name, "sh", "-c", checkDataset, "sh", d.Path, strconv.FormatInt(d.Bytes, 10), d.Checksum)
	}
	if err != nil {
		return "", journal.FileSum{}, err
	}
	lines := strings.Split(strings.TrimRight(out, "\n")+"\n\n\n", "\n")
	folder := lines[0]
	sum := journal.FileSum{Name: d.Name, SHA256: strings.TrimSpace(lines[2])}
	if sum.Size, err = strconv.ParseInt(strings.TrimSpace(lines[1]), 10, 64); err != nil || folder == "" {
		return "", sum, backends.Errorf(backends.Infra, op, "the machine answered %q; a folder, a size and a checksum were wanted", out)
	}
	switch {
	case d.Bytes > 0 && sum.Size != d.Bytes:
		return "", sum, backends.Errorf(backends.Invalid, op, "%s has %d bytes, declared are %d", d.Path, sum.Size, d.Bytes)
	case d.Images == 0 && "sha256:"+sum.SHA256 != d.Checksum:
		return "", sum, backends.Errorf(backends.Invalid, op, "%s: checksum sha256:%s, declared %s", d.Path, sum.SHA256, d.Checksum)
	}
	return folder, sum, nil
}
