package backendtest

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"dlx.dev/dlx/backends"
)

// A World makes backends of one kind.
type World struct {
	Name    string
	Virtual bool   // whether New and all that it starts may run in a synctest bubble
	Skip    string // why the world is not there today; empty: it is

	// Without is what cannot be in this world by its nature, with the reasons. Checks that need it
	// are not run and not skipped: there is nothing to check. That it is really not there is checked.
	Without map[Need]string

	// New makes a fresh cloud and opens it. It runs in the bubble, and leaves nothing behind
	// when the test has ended.
	New func(t *testing.T) *Bed
}

// A Bed is a fresh backend with the means to test it. Functions that a world cannot offer are nil.
type Bed struct {
	Backend *backends.Backend

	Spec    json.RawMessage            // of a machine that boots
	Machine string                     // kind of the objects that are machines; empty: all but keypairs are
	Bad     map[string]json.RawMessage // specs that the cloud refuses, by the word that the error has to name

	// Program gives the arguments of a process that behaves as described; nil: machines run nothing.
	Program  func(Program) []string
	Programs bool // processes are programs of an operating system, and files that are staged can be such
	Virtual  bool // copied from the World

	Hosts int  // so many hosts there are for machines to stand on together or apart; 0: nobody sees to it
	Peers bool // processes reach each other, and have a netcat

	Step time.Duration // an eighth of the time that making machines takes, about; 0: as the sandbox

	Reopen   func() *backends.Backend            // what a new process with the same secret would open
	Left     func() []string                     // what is there though everything was released
	Fail     func(machine, reason string)        // the next boot of that machine ends so
	Quota    func(machines int)                  // how many may exist
	Refuse   func(status, retryAfter, times int) // the next requests for a machine; retryAfter < 0: without the header
	HangUp   func()                              // the next request for a machine arrives and is not answered
	Drop     func()                              // all connections to machines break
	Revoke   func()                              // the login is void
	Stranger func(run string) (remove func())    // somebody else makes something with the names of a run's
	Secrets  []string                            // texts that may stand in no error and no fact
}

// A Program says what a process does: these things, in this order.
type Program struct {
	Args     []string // printed to stdout, each followed by a zero byte
	Out, Err string   // printed
	Bytes    int64    // so many bytes "x" to stdout
	Env      string   // the value of this variable, printed
	File     string   // left behind, with Out in it
	Stubborn bool     // SIGTERM is ignored
	Children bool     // starts children in sessions and with environments of their own, which would stay for an hour
	Sleep    float64  // seconds
	Kill     bool     // dies of SIGKILL
	Exit     int
}

// require is the environment variable that forbids skips.
const require = "DLX_TEST_REQUIRE"

// Run runs all checks against a world.
func Run(t *testing.T, w World) {
	t.Helper()
	t.Run(w.Name, func(t *testing.T) {
		t.Parallel() // with other worlds; the checks of one follow each other
		if w.Skip != "" {
			Skip(t, w.Name, w.Skip)
		}
		if len(w.Without) > 0 {
			t.Logf("without %s", w.summary())
			w.run(t, "what it is declared to be without is not there", func(t *testing.T, b *Bed) {
				for _, why := range w.falseAbsences(b) {
					t.Error(why)
				}
			})
		}
		for _, c := range checks {
			if _, ok := w.absent(c); ok {
				continue
			}
			w.run(t, c.name, func(t *testing.T, b *Bed) {
				if n, ok := c.lacks(b); ok {
					Skip(t, w.Name, "it has no "+string(n))
					return
				}
				c.check(t, b)
				if b.Left == nil || t.Failed() {
					return
				}
				if left := b.Left(); len(left) > 0 {
					t.Errorf("left behind: %v", left)
				}
			})
		}
	})
}

// run runs something with a fresh bed.
func (w *World) run(t *testing.T, name string, f func(*testing.T, *Bed)) {
	t.Run(name, func(t *testing.T) {
		one := func(t *testing.T) {
			b := w.New(t)
			b.Virtual = w.Virtual
			f(t, b)
		}
		if w.Virtual {
			synctest.Test(t, one)
		} else {
			one(t)
		}
	})
}

// Skip ends a test of a world for a reason, unless DLX_TEST_REQUIRE lists the world: then the test
// fails.
func Skip(t *testing.T, world, why string) {
	t.Helper()
	if slices.Contains(strings.Split(os.Getenv(require), ","), world) {
		t.Fatalf("%s: %s demands it, and it cannot run: %s", world, require, why)
	}
	t.Skipf("%s: %s", world, why)
}

// check is one promise.
type check struct {
	name  string
	check func(*testing.T, *Bed)
	needs []Need
}

// checks is the list. Each begins with an empty cloud and leaves it so.
var checks = []check{
	{"provision twice gives the same machines", provisionTwice, nil},
	{"provision twice at once gives the same machines", provisionTwiceAtOnce, nil},
	{"owners do not see each other", ownersApart, nil},
	{"a canceled provision leaves nothing that release does not find", cancelHalfway, nil},
	{"sixteen fleets at once", sixteen, nil},
	{"release of nothing, twice, and beside another", releases, nil},
	{"the ledger knows everything first", ledgerFirst, nil},
	{"a machine that fails to boot fails at once with the reason", bootFails, []Need{BootFailures}},
	{"no room is capacity", noRoom, []Need{BootFailures}},
	{"quota is quota", quotaIsQuota, []Need{QuotaLimit}},
	{"unknown names are named", unknownNames, []Need{Names}},
	{"a refusal with a time is waited for", refusedForAWhile, []Need{Refusals}},
	{"other refusals are temporary errors", refusedForLong, []Need{Refusals}},
	{"a lost answer makes no second machine", lostAnswer, []Need{LostAnswers}},
	{"a void login is renewed", renewed, []Need{Login}},
	{"whatever runs left is found without them", leftBehind, nil},
	{"what has names like dlx's is left alone", strangers, []Need{Strangers}},
	{"a check of what fits finds nothing and makes nothing", checkFits, nil},
	{"no secret in errors and facts", noSecrets, []Need{BootFailures, Refusals, Secrets}},
	{"a new process finds machines", reopened, []Need{Restart}},
	{"a new process finds machines and processes", restart, []Need{Restart, Processes}},
	{"start twice runs once", startTwice, []Need{Processes}},
	{"exit codes, signals and times are results", exits, []Need{Processes}},
	{"elapsed is measured around the process", elapsed, []Need{Processes}},
	{"a timeout ends a process on the machine", timeout, []Need{Processes}},
	{"stop ends all of a process", stops, []Need{Processes}},
	{"stop kills after the grace", stopStubborn, []Need{Processes}},
	{"waiting ends with its context", waitCanceled, []Need{Processes}},
	{"unknown processes are not found", unknownProcess, []Need{Processes}},
	{"output is whole", outputWhole, []Need{Processes}},
	{"open reads from an offset, and while it is written", openOffset, []Need{Processes}},
	{"open of what is not there", openMissing, []Need{Processes}},
	{"files of a process", processFiles, []Need{Processes}},
	{"arguments and environment arrive as they are", arguments, []Need{Processes}},
	{"the probe says what the machine is", probe, []Need{Processes}},
	{"the probe names kernel, CPU and memory", probeKeys, []Need{Programs}},
	{"staged files are whole, and are sent once", staged, []Need{Processes}},
	{"staged files run", stagedRun, []Need{Programs}},
	{"a process outlives its connection", outlives, []Need{Connections, Processes}},
	{"another host key is refused", wrongHostKey, []Need{HostKeys}},
	{"a machine is reached over another", jumped, []Need{HostKeys, Connections, Processes, Peers}},
	{"many processes on one machine", manyProcesses, []Need{Processes}},
	{"one of a group is stopped alone", oneStops, []Need{Processes}},
	{"processes of a group find each other", peers, []Need{Peers}},
	{"machines stand together or apart", hosts, []Need{Hosts}},
}
