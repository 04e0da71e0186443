package sandbox

import (
	"encoding/json"
	"errors"
	"sync"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
)

// protobufMedia is the form in which some clients send objects that they have types for. Answers
// are JSON, which all of them take as well.
const protobufMedia = runtime.ContentTypeProtobuf

var protobufReader = sync.OnceValue(func() *protobuf.Serializer {
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, batchv1.AddToScheme, rbacv1.AddToScheme, authorizationv1.AddToScheme, authenticationv1.AddToScheme} {
		if err := add(s); err != nil {
			panic(err) // types that contradict each other
		}
	}
	metav1.AddToGroupVersion(s, schema.GroupVersion{Version: "v1"})
	return protobuf.NewSerializer(s, s)
})

// fromProtobuf makes JSON, with kind and apiVersion, of an object as protobuf.
func fromProtobuf(b []byte) ([]byte, error) {
	o, gvk, err := protobufReader().Decode(b, nil, nil)
	if err != nil {
		return nil, errors.New("the body is no object in protobuf that the sandbox knows: " + err.Error())
	}
	o.GetObjectKind().SetGroupVersionKind(*gvk)
	return json.Marshal(o)
}
