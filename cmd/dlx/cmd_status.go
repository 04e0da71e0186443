package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"path/filepath"
	"text/tabwriter"
	"time"

	"github.com/gofrs/flock"
	"github.com/spf13/cobra"

	"dlx.dev/dlx/backends/kubernetes"
	"dlx.dev/dlx/executor/journal"
	"dlx.dev/dlx/results"
)

func newStatus() *cobra.Command {
	var out string
	cmd := &cobra.Command{
		Use:   "status RUN",
		Short: "Show how far a run is, from its folder",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := oneOf("output", out, "text", "json"); err != nil {
				return err
			}
			r, err := results.Load(args[0])
			if err != nil {
				return usage(err)
			}
			doc := statusOf(args[0], r)
			if err := doc.askCluster(cmd.Context(), args[0], cmd.ErrOrStderr()); err != nil {
				return err
			}
			if out == "json" {
				return writeJSON(cmd.OutOrStdout(), doc)
			}
			return doc.text(cmd.OutOrStdout())
		},
	}
	cmd.Flags().StringVar(&out, "output", "text", "`FORM`: text or json")
	return cmd
}

// statusDoc is the documented form of status --output json. Fields are only ever added.
type statusDoc struct {
	Format  int          `json:"format"`
	Study   string       `json:"study"`
	Run     string       `json:"run"`
	Running bool         `json:"running"` // a dlx holds the folder now
	Last    time.Time    `json:"last"`    // when something last happened
	Trials  int          `json:"trials"`
	Done    int          `json:"done"`
	Cells   []cellStatus `json:"cells"`
	Left    []string     `json:"left"` // objects not known to be gone

	Detached *detachedStatus `json:"detached,omitempty"`
}

// detachedStatus is where a run is that is not here.
type detachedStatus struct {
	Cloud     string `json:"cloud"`
	Namespace string `json:"namespace"`
	Job       string `json:"job"`
	State     string `json:"state"` // none, waiting, running, ended; "" if the cluster could not be asked
	Text      string `json:"text"`
	Fetched   bool   `json:"fetched"` // all of it, after its end
}

// askCluster finds out how a detached run is: from dlx in its pod, or, while none runs, what was
// fetched last and how the Job stands. A cluster that cannot be asked is no error: what is here is shown.
func (d *statusDoc) askCluster(ctx context.Context, dir string, stderr io.Writer) error {
	mark, err := readDetached(dir)
	if err != nil {
		return usage(err)
	}
	if mark == nil || mark.Removed {
		return nil
	}
	d.Run = mark.Run
	at := &detachedStatus{Cloud: mark.Cloud.Name, Namespace: mark.Namespace, Fetched: mark.Fetched, Text: "could not be asked; this is what was fetched"}
	d.Detached = at
	cluster, err := mark.open(ctx)
	if err != nil {
		fmt.Fprintf(stderr, "dlx: cloud %s: %v\n", mark.Cloud.Name, err)
		return nil
	}
	defer cluster.Close() //nolint:errcheck // lets connections go
	at.Job = cluster.Name()
	state, err := cluster.State(ctx)
	if err == nil {
		at.State, at.Text = string(state.Phase), stateText(state)
		if mark.Program == "" {
			at.Text = "has not begun there"
		}
		d.Running = state.Phase == kubernetes.DetachedRunning
	}
	if err == nil && state.Pod != "" {
		var text bytes.Buffer
		if err = cluster.Exec(ctx, state.Pod, nil, &text, mark.Program, "status", onVolume(awayFolder), "--output", "json"); err == nil {
			var there statusDoc
			if err = json.Unmarshal(text.Bytes(), &there); err == nil {
				there.Detached = at
				*d = there
			}
		}
	}
	if err != nil {
		fmt.Fprintf(stderr, "dlx: cloud %s: %v\n", mark.Cloud.Name, err)
	}
	return nil
}

type cellStatus struct {
	Name   string `json:"name"`
	Trials int    `json:"trials"`
	Done   int    `json:"done"`
	Failed int    `json:"failed"`
	Error  string `json:"error,omitempty"` // of the last trial that failed
}

func statusOf(dir string, r *results.Run) *statusDoc {
	d := &statusDoc{Format: 1, Study: r.Plan.Study, Run: r.ID, Last: r.Ended, Trials: len(r.Trials), Left: r.Left, Running: held(dir)}
	if d.Left == nil {
		d.Left = []string{}
	}
	for c := range r.Plan.Cells {
		s := cellStatus{Name: r.Plan.Cells[c].Name, Trials: r.Plan.Repeats}
		for n := 1; n <= r.Plan.Repeats; n++ {
			switch t := r.Trial(c, n); t.State {
			case journal.Done:
				s.Done++
			case journal.Failed:
				s.Failed++
				s.Error = t.Class + ": " + t.Error
			default:
			}
		}
		d.Done += s.Done
		d.Cells = append(d.Cells, s)
	}
	return d
}

// held reports whether another process has the folder.
func held(dir string) bool {
	l := flock.New(filepath.Join(dir, results.JournalFile))
	ok, err := l.TryRLock()
	if ok {
		_ = l.Unlock()
	}
	return err == nil && !ok
}

func (d *statusDoc) text(w io.Writer) error {
	state := "not running"
	if d.Running {
		state = "running"
	}
	if at := d.Detached; at != nil {
		state = fmt.Sprintf("detached in cloud %s, namespace %s", at.Cloud, at.Namespace)
	}
	last := "nothing has happened yet"
	if !d.Last.IsZero() {
		last = "last event " + d.Last.Format(time.RFC3339)
	}
	fmt.Fprintf(w, "study %s, run %s: %s, %d of %d trials done, %s\n", d.Study, d.Run, state, d.Done, d.Trials, last)
	if at := d.Detached; at != nil {
		fmt.Fprintf(w, "job %s: it %s\n", at.Job, at.Text)
		if at.State == string(kubernetes.DetachedEnded) && !at.Fetched {
			fmt.Fprintln(w, "these are the trials that were fetched; dlx fetch brings the rest")
		}
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, c := range d.Cells {
		fmt.Fprintf(tw, "  %d/%d\t%s\t%s\n", c.Done, c.Trials, c.Name, c.Error)
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	for _, l := range d.Left {
		fmt.Fprintln(w, "may still exist: "+l)
	}
	return nil
}
