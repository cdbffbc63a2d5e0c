// Only for the CRDs in its config/crd/standard.
module tidegate.io/e2e/cluster/gateway-api

go 1.25.0

require sigs.k8s.io/gateway-api v1.5.0 // indirect
