package kubernetes

import (
	"sync"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
)

// kinds is the scheme of the few kinds that are used. The scheme of all kinds costs 5 ms of every
// start of dlx and half of its executable; this one is built when the first cluster is opened.
type kinds struct {
	scheme *runtime.Scheme
	codecs runtime.NegotiatedSerializer
	params runtime.ParameterCodec
}

var scheme = sync.OnceValue(func() kinds {
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, batchv1.AddToScheme, rbacv1.AddToScheme, resourcev1.AddToScheme} {
		if err := add(s); err != nil { // two types of one name: a mistake of the SDK
			panic(err)
		}
	}
	s.AddKnownTypeWithName(jobSetGroup.WithKind("JobSet"), &jobSet{})
	s.AddKnownTypeWithName(jobSetGroup.WithKind("JobSetList"), &jobSetList{})
	for _, gv := range []schema.GroupVersion{corev1.SchemeGroupVersion, jobSetGroup} {
		metav1.AddToGroupVersion(s, gv)
	}
	return kinds{scheme: s, codecs: serializer.NewCodecFactory(s).WithoutConversion(), params: runtime.NewParameterCodec(s)}
})
