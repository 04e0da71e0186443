package nn

import (
	"slices"
	"strings"
)

// Model is a recipe for a net.
type Model struct {
	Name         string
	Size         int     // height and width of its pictures, in pixels
	Batch        int     // default number of pictures in a batch: upstream's for the model of this name
	LearningRate float64 // default

	layers     func(b *builder, x *tensor) *tensor
	numClasses int // 0 = Classes
}

func (m Model) classes() int {
	if m.numClasses > 0 {
		return m.numClasses
	}
	return Classes
}

// Models returns the known models by name.
func Models() []Model {
	return []Model{
		{Name: "alexnet", Size: 16, Batch: 512, LearningRate: 0.01, layers: alexnet},
		{Name: "inception3", Size: 16, Batch: 32, LearningRate: 0.05, layers: inception3},
		{Name: "lenet", Size: 16, Batch: 32, LearningRate: 0.01, layers: lenet},
		{Name: "resnet50", Size: 16, Batch: 64, LearningRate: 0.05, layers: resnet50},
		{Name: "trivial", Size: 16, Batch: 32, LearningRate: 0.01, layers: trivial},
	}
}

// Lookup returns the model of that name.
func Lookup(name string) (Model, bool) {
	all := Models()
	i := slices.IndexFunc(all, func(m Model) bool { return m.Name == name })
	if i < 0 {
		return Model{}, false
	}
	return all[i], true
}

// Names returns the names of the known models, separated by a comma and a blank.
func Names() string {
	var names []string
	for _, m := range Models() {
		names = append(names, m.Name)
	}
	return strings.Join(names, ", ")
}
