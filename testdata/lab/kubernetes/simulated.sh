# The simulated nodes; sourced by start.sh. kwok keeps the nodes alive and lets pods come and go; the
# lab's own "simulated" makes them, plays the processes in their pods, and is their kubelets' endpoint.

mkdir -p "$disk"
daemon simulated "$bin/kube" simulated -pki "$pki" -address "$at:10260" -disk "$disk" -nodes "$LAB_SIMULATED" -gpu "$LAB_GPU"
await simulated get -k "https://$at:10260/healthz"
daemon kwok "$bin/kwok" --kubeconfig "$pki/admin.kubeconfig" --config "$lab/kwok.yaml" --manage-all-nodes=false \
  --manage-nodes-with-annotation-selector kwok.x-k8s.io/node=fake --node-ip "$at" --node-port 10260 --server-address "$lo:10261" \
  --cidr 10.201.0.0/16 --node-lease-duration-seconds 40
for i in $(seq "$LAB_SIMULATED"); do await kwok ready "simulated$i"; done
