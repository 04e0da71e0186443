package model

import (
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"path"
	"regexp"
	"regexp/syntax"
	"strconv"
	"strings"
	"time"

	"dlx.dev/dlx/backends"
)

// A performance is what the model says that a process does.
type performance struct {
	stdout, stderr string
	code           int
	takes          time.Duration
	forever        bool   // until it is stopped
	net            string // what it trains
}

// numbers of a net: seconds of a step on bare metal with two GPUs a machine, so that the whole
// study resembles the published values (single: (elapsed - start) / 110 steps of Figure 5;
// distributed: images a step / throughput of Figure 6).
type net struct {
	batch             int // of Table 1
	single, spread    float64
	overlay, overlayV float64 // what a container and a VM make of a distributed step
}

var nets = map[string]net{
	"inception3": {32, 0.527, 2.246, 1.21, 1.30},
	"resnet50":   {32, 0.345, 2.462, 1.21, 1.33},
	"alexnet":    {512, 1.300, 7.211, 1.014, 1.15},
}

// slower is what a kind makes of a step of a single process, with synthetic and with real data.
var slower = map[kind][2]float64{
	metal: {1, 1}, containerMetal: {1.01, 1.015}, virtual: {1.07, 1.11}, containerVM: {1.10, 1.17},
}

// interference is what a background job makes of a step: of a small and of a large batch.
var interference = map[kind][2]float64{
	metal: {1.12, 1.38}, containerMetal: {1.08, 1.34}, virtual: {1.05, 1.31}, containerVM: {1.07, 1.33},
}

const (
	startSeconds = 14.0 // from the start of a process to its first step
	imagesPerRun = 2.0  // seconds more that real data takes to be opened
	noise        = 0.012
)

// predict says what a process will do. The caller holds c.mu.
func (c *cloud) predict(x *machine, p backends.Process, workers int) performance {
	flags := map[string]string{}
	for _, a := range p.Args {
		if name, v, ok := strings.Cut(strings.TrimPrefix(a, "--"), "="); ok && strings.HasPrefix(a, "--") {
			flags[name] = v
		}
	}
	r := c.dice(path.Dir(path.Dir(p.ID)), path.Base(p.ID))
	switch {
	case strings.HasPrefix(p.ID, "helper/"):
		return c.helper(p)
	case flags["job_name"] == "ps" || flags["job_name"] == "controller":
		return performance{stdout: "Running parameter server 0\n", forever: true}
	case flags["model"] != "":
		return c.train(x, flags, workers, c.dice(path.Dir(path.Dir(p.ID)), flags["model"]), r)
	default:
		return c.command(x, p, r)
	}
}

// dice are the same for the same seed and words, whatever the order and the attempt.
func (c *cloud) dice(words ...string) *rand.Rand {
	h := fnv.New64a()
	h.Write([]byte(strings.Join(words, "\x00")))
	return rand.New(rand.NewPCG(c.cfg.Seed, h.Sum64()))
}

// helper answers what makes and checks data sets: a folder, its size and its checksum; those that
// are declared stand last, for there are no files here that could have others.
func (c *cloud) helper(p backends.Process) performance {
	n := len(p.Args)
	if sum, ok := strings.CutPrefix(p.Args[n-1], "sha256:"); ok && n > 2 {
		return performance{stdout: p.Args[n-3] + "\n" + p.Args[n-2] + "\n" + sum + "\n", takes: 20 * time.Second}
	}
	return performance{stdout: "/simulated/data\n0\n\n", takes: 20 * time.Second}
}

// train is a run of tf_cnn_benchmarks.
// Synchronous workers are in step, so that trial, which all of them share, makes most of the noise, and
// own only a little.
func (c *cloud) train(x *machine, flags map[string]string, workers int, trial, r *rand.Rand) performance {
	n, ok := nets[flags["model"]]
	if !ok {
		n = nets["resnet50"]
	}
	number := func(name string, def int) int {
		if v, err := strconv.Atoi(flags[name]); err == nil {
			return v
		}
		return def
	}
	batch, devices := number("batch_size", n.batch), number("num_gpus", 1)
	steps, warm, every := number("num_batches", 100), number("num_warmup_batches", 10), max(1, number("display_every", 10))
	real := flags["data_dir"] != ""
	if flags["job_name"] == "" {
		workers = 1
	}
	step := n.single * float64(batch) / float64(n.batch)
	if devices == 1 {
		step *= 0.93 // nothing to bring together
	}
	if workers > 1 {
		step = n.spread
		switch x.kind {
		case containerMetal:
			step *= n.overlay
		case virtual:
			step *= n.overlayV
		case containerVM:
			step *= n.overlay * (1 + (n.overlayV-1)*0.8)
		case metal:
		}
	} else if real {
		step *= slower[x.kind][1]
	} else {
		step *= slower[x.kind][0]
	}
	if len(x.load) > 0 {
		large := 0
		if batch >= 512 {
			large = 1
		}
		step *= interference[x.kind][large]
	}
	step *= math.Exp(noise*trial.NormFloat64() + noise/20*r.NormFloat64())
	own := float64(batch*devices) / step
	does := performance{net: flags["model"], forever: steps >= endless}
	total := own * float64(workers)
	does.stdout = output(flags, batch, devices, workers, steps, every, own, total, r)
	seconds := startSeconds*math.Exp(3*noise*r.NormFloat64()) + float64(steps+warm)*step
	if real {
		seconds += imagesPerRun
	}
	does.takes = time.Duration(seconds * float64(time.Second))
	return does
}

// endless is the number of steps from which a job is there to be stopped.
const endless = 100_000

// output is what the program would print. Lines of steps end where nobody would read on.
func output(flags map[string]string, batch, devices, workers, steps, every int, own, total float64, r *rand.Rand) string {
	var b strings.Builder
	data := "imagenet (synthetic)"
	if flags["data_dir"] != "" {
		data = "imagenet"
	}
	list := make([]string, devices)
	for i := range list {
		list[i] = fmt.Sprintf("'/gpu:%d'", i)
	}
	fmt.Fprintf(&b, "SIMULATED: a model printed this, not a machine\nModel:       %s\nDataset:     %s\nBatch size:  %d global\n             %d per device\n", flags["model"], data, batch*devices*workers, batch)
	fmt.Fprintf(&b, "Num batches: %d\nDevices:     [%s]\n", steps, strings.Join(list, ", "))
	for _, f := range []struct{ name, line string }{{"data_format", "Data format"}, {"optimizer", "Optimizer"}, {"variable_update", "Variables"}} {
		if v := flags[f.name]; v != "" {
			fmt.Fprintf(&b, "%-12s %s\n", f.line+":", v)
		}
	}
	b.WriteString("Running warm up\nDone warm up\nStep\tImg/sec\ttotal_loss\n")
	const mostLines = 200
	lines := 0
	for s := 1; s <= steps && lines < mostLines; s++ {
		if s == 1 || s%every == 0 {
			lines++
			mean := own * (1 + 0.003*r.NormFloat64()/float64(lines))
			fmt.Fprintf(&b, "%d\timages/sec: %.1f +/- %.1f (jitter = %.1f)\t%.3f\n", s, mean, own*0.002, own*0.004, 7.3-0.3*math.Log1p(float64(s)/50))
		}
	}
	if steps < endless {
		rule := strings.Repeat("-", 64)
		fmt.Fprintf(&b, "%s\ntotal images/sec: %.2f\n%s\n", rule, total, rule)
	}
	return b.String()
}

// command is any other program: a line for each pattern, with a number that depends on the words
// of the program and on the kind of machine.
func (c *cloud) command(x *machine, p backends.Process, r *rand.Rand) performance {
	h := fnv.New64a()
	h.Write([]byte(strings.Join(p.Args, "\x00")))
	base := 60 + float64(h.Sum64()%120)
	seconds := base * slower[x.kind][0] * math.Exp(noise*r.NormFloat64())
	var b strings.Builder
	b.WriteString("SIMULATED: a model printed this, not a machine\n")
	for _, re := range c.patterns {
		v := strconv.FormatFloat(1000/seconds*math.Exp(noise*r.NormFloat64()), 'f', 2, 64)
		b.WriteString(Sample(re, v) + "\n")
	}
	return performance{stdout: b.String(), takes: time.Duration(seconds * float64(time.Second))}
}

// Sample is a short text that a regular expression matches, with value where its group "v" is;
// the empty text where there is none that does, for instance because the group takes no number.
func Sample(re *regexp.Regexp, value string) string {
	parsed, err := syntax.Parse(re.String(), syntax.Perl)
	if err != nil {
		return ""
	}
	for _, v := range []string{value, strings.Split(value, ".")[0]} {
		text := sample(parsed, v)
		m := re.FindStringSubmatch(text)
		if i := re.SubexpIndex("v"); m != nil && (i < 0 || m[i] == v) {
			return text
		}
	}
	return ""
}

// sample is the shortest text of an expression, as far as its parts tell.
func sample(re *syntax.Regexp, value string) string {
	switch re.Op {
	case syntax.OpLiteral:
		return string(re.Rune)
	case syntax.OpCharClass:
		if len(re.Rune) > 0 {
			for _, r := range "1a " {
				for i := 0; i+1 < len(re.Rune); i += 2 {
					if re.Rune[i] <= r && r <= re.Rune[i+1] {
						return string(r)
					}
				}
			}
			return string(re.Rune[0])
		}
		return ""
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		return "x"
	case syntax.OpCapture:
		if re.Name == "v" {
			return value
		}
		return sample(re.Sub[0], value)
	case syntax.OpPlus:
		return sample(re.Sub[0], value)
	case syntax.OpRepeat:
		return strings.Repeat(sample(re.Sub[0], value), max(re.Min, 0))
	case syntax.OpConcat:
		text := ""
		for _, s := range re.Sub {
			text += sample(s, value)
		}
		return text
	case syntax.OpAlternate:
		return sample(re.Sub[0], value)
	case syntax.OpStar, syntax.OpQuest:
		if holds(re.Sub[0]) {
			return sample(re.Sub[0], value)
		}
		return ""
	default: // what matches no character
		return ""
	}
}

// holds reports whether the group "v" is in an expression.
func holds(re *syntax.Regexp) bool {
	if re.Op == syntax.OpCapture && re.Name == "v" {
		return true
	}
	for _, s := range re.Sub {
		if holds(s) {
			return true
		}
	}
	return false
}
