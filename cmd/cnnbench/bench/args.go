package bench

import (
	"flag"
	"fmt"
	"strings"
)

// normalize brings arguments to what the package flag reads in one go: it turns --noflag into --flag=false and takes out,
// as complaints, what package flag would stop at (an unknown flag, a stray argument, a missing value). So all mistakes of
// a command line are found at once. It reports whether help was asked for.
func normalize(fs *flag.FlagSet, args []string) (clean, complaints []string, help bool) {
	after := "" // the boolean flag just before, given without a value
	for i := 0; i < len(args); i++ {
		arg := args[i]
		name, ok := strings.CutPrefix(arg, "-")
		name = strings.TrimPrefix(name, "-")
		if !ok || name == "" || strings.HasPrefix(name, "=") {
			if after != "" {
				clean = clean[:len(clean)-1] // so that its value without the argument makes no second complaint
				complaints = append(complaints, fmt.Sprintf(
					"--%[1]s %[2]s: the value of a boolean flag needs an equals sign, or it is read as a stray argument; write --%[1]s=%[2]s",
					after, arg))
			} else {
				complaints = append(complaints, fmt.Sprintf("stray argument %q; write flags as --flag=value", arg))
			}
			after = ""
			continue
		}
		after = ""
		name, _, valued := strings.Cut(name, "=")
		if name == "help" || name == "h" {
			help = true
			continue
		}
		f := fs.Lookup(name)
		if f == nil && !valued {
			if positive, ok := strings.CutPrefix(name, "no"); ok && isBool(fs.Lookup(positive)) {
				clean = append(clean, "--"+positive+"=false")
				continue
			}
		}
		switch {
		case f == nil:
			complaints = append(complaints, fmt.Sprintf("--%s: unknown flag", name))
			// A word after it is most likely its value.
			if !valued && i+1 < len(args) && !strings.HasPrefix(args[i+1], "-") {
				i++
			}
		case valued:
			clean = append(clean, arg)
		case isBool(f):
			clean = append(clean, arg)
			after = name
		case i+1 == len(args):
			complaints = append(complaints, fmt.Sprintf("--%s: value is missing; write --%s=value", name, name))
		default:
			i++
			clean = append(clean, "--"+name+"="+args[i])
		}
	}
	return clean, complaints, help
}

func isBool(f *flag.Flag) bool {
	if f == nil {
		return false
	}
	b, ok := f.Value.(interface{ IsBoolFlag() bool })
	return ok && b.IsBoolFlag()
}
