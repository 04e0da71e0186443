package sandbox

import (
	"context"
	"fmt"
	"maps"
	"slices"
)

// End ends everything that was made on the sandbox, with its processes and control groups, and
// closes it. The state folder is left empty. ctx bounds how long requests that are being answered
// are waited for.
func (s *Server) End(ctx context.Context) error {
	_ = s.http.Shutdown(ctx) // from here on nobody makes anything; Close says what remains
	s.mu.Lock()
	for _, t := range s.timers {
		t.Stop()
	}
	clear(s.timers)
	s.mu.Unlock()
	for s.endSome() { // a boot that was going on may have made one more
	}
	s.mu.Lock()
	s.st = &state{Cgroups: s.st.Cgroups}
	s.st.fill()
	s.save()
	s.mu.Unlock()
	err := s.Close()
	if left := append(texts(s.Processes()), s.Groups()...); err == nil && len(left) > 0 {
		err = fmt.Errorf("sandbox: %s: not ended: %v", s.cfg.State, left)
	}
	return err
}

// endSome ends what there is, and reports whether there was anything.
func (s *Server) endSome() bool {
	s.mu.Lock()
	clusters, servers, machines := slices.Collect(maps.Keys(s.st.Clusters)), slices.Collect(maps.Keys(s.st.Servers)), slices.Collect(maps.Keys(s.machines))
	s.mu.Unlock()
	for _, id := range clusters {
		s.removeCluster(id)
	}
	for _, id := range servers {
		s.vanish(id)
	}
	for _, id := range machines { // those of nodes: of the others nothing is there any more
		s.destroy(id)
	}
	return len(clusters)+len(servers)+len(machines) > 0
}

func texts(pids []int) []string {
	var out []string
	for _, p := range pids {
		out = append(out, fmt.Sprintf("process %d", p))
	}
	return out
}
