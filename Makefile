# make test is what decides whether a change is good; the rest is convenience.
# It starts Postfix instances of its own, so it has to run as root.

GO        ?= go
# Without vet, which make check runs before, and wholly.
TESTFLAGS ?= -timeout 15m -p 2 -vet=off
FUZZTIME  ?= 1m
ROUNDS    ?= 500
SOAKTIME  ?= 10m
# How many machines run side by side; they wait more than they work.
DOORS     ?= 3
# What make dist is for; all programs compile there.
SYSTEMS   ?= linux/amd64 linux/arm64 freebsd/amd64
# What make image is for.
ARCHS     ?= amd64 arm64

# The programs that run inside mail servers, which are not all on Linux.
MAIL_HALF = ./cmd/postseal-milter ./cmd/postseal-pipe

.PHONY: build address deb dist image packages reproducible test quick doors check deps root fmt vet staticcheck freebsd unit fuzz crash soak site bench microbench clean

# The version is that of the Git tag or commit, which Go stamps by itself.
build:
	@echo "== build: bin/"
	CGO_ENABLED=0 $(GO) build -trimpath -o bin/ ./cmd/...

# The only place that names an address for reports is SECURITY.md.
address:
	@! grep -q '@example\.invalid' SECURITY.md || { \
		echo "warning: SECURITY.md has no address for reports yet" >&2; \
		echo "hint: replace security@example.invalid there before you publish" >&2; }

# What is given to others is put into dist/: ARCH is the processor as Go calls it, VERSION
# and SOURCE_DATE_EPOCH are Git's where they are not given.
deb: address
	@echo "== Debian package"
	@GOOS=linux GOARCH=$(ARCH) .ci/release deb

# For systems without a package: archives with programs, manuals, recipes and SBOM.
dist: address
	@echo "== archives"
	@set -e; for system in $(SYSTEMS); do \
		GOOS=$${system%/*} GOARCH=$${system#*/} .ci/release archive; \
	done

# For containers: an OCI image of each half, for all processors of ARCHS, with roots and SBOM.
image: address
	@echo "== images"
	@GOOS=linux ARCHS="$(ARCHS)" .ci/release images

test: root deps check unit
	@echo "== all good"

# While you work: needs no root, no network, no server and no Debian.
quick: fmt vet
	@echo "== go test -short"
	@GO="$(GO)" .ci/quick

# What can be said without running anything.
check: fmt vet staticcheck freebsd

deps:
	@.ci/install

root:
	@test "$$(id -u)" -eq 0 || { \
		echo "error: the tests start Postfix, which only root can" >&2; \
		echo "hint: run them in a container or as root; 'make quick' needs no root" >&2; exit 1; }

fmt:
	@echo "== gofmt"
	@bad=$$(gofmt -s -l .) && test -z "$$bad" || { echo "not formatted (gofmt -s -w):" >&2; echo "$$bad" >&2; exit 1; }

vet:
	@echo "== go vet"
	@$(GO) vet ./...
	@$(GO) -C .ci vet ./...

staticcheck:
	@echo "== staticcheck"
	@$(GO) tool -modfile=.ci/go.mod staticcheck ./...
	@$(GO) -C .ci tool staticcheck ./...

# Our own packages in the mail half, with their tests, compiled for FreeBSD.
freebsd:
	@echo "== go vet, mail half on FreeBSD"
	@export GOOS=freebsd CGO_ENABLED=0; \
	own=$$($(GO) list -deps -f '{{with .Module}}{{if .Main}}{{$$.ImportPath}}{{end}}{{end}}' $(MAIL_HALF)) && $(GO) vet $$own

# Under the race detector run the tests whose own process does the work. It does not see
# into programs that a test starts, and makes the thousands of orders and processes of LONG
# take minutes.
# Nor does the cache of go test see them: those tests are run anew. GORACE lets a process end
# at once, not after a second.
LONG = ^(TestHostileCA|TestScripts)$$

unit:
	@echo "== go test -race"
	@GORACE=atexit_sleep_ms=0 $(GO) test -race $(TESTFLAGS) -skip '$(LONG)' $$($(GO) list ./... | grep -v '/internal/test/')
	@echo "== go test"
	@$(GO) test -count 1 $(TESTFLAGS) ./internal/test/...
	@$(GO) test $(TESTFLAGS) -run '$(LONG)' ./issuer ./cmd/postseal

# The recipes of contrib/, each with the real mail server on a machine of its own, and
# then their pages, command by command.
# In its directory, because there go test shows the table that the tests print.
doors: root deps
	@echo "== doors"
	@$(GO) vet -tags doors ./internal/test/recipes ./internal/test/pages
	@cd internal/test/recipes && CGO_ENABLED=0 $(GO) test -tags doors -count 1 -parallel $(DOORS) -timeout 15m
	@CGO_ENABLED=0 $(GO) test -tags doors -count 1 -run '^TestStoriesElsewhere$$' -timeout 15m ./internal/test/pages

# The Debian package on machines of their own, with systemd and without: installed,
# upgraded, removed, purged; contrib/first-hour.md, command by command; and the images,
# run by podman as the files of contrib/containers say.
packages: root deps
	@.ci/install packages-containers
	@echo "== Debian package on machines"
	@$(GO) vet -tags packages ./internal/test/release ./internal/test/pages
	@CGO_ENABLED=0 $(GO) test -tags packages -count 1 -p 1 -run '^(TestPackage|TestFirstHour|TestContainers|TestPods)' -timeout 15m ./internal/test/release ./internal/test/pages

# Two builds from scratch in two places give the same bytes; make test has it with what
# is compiled already.
reproducible:
	@echo "== two builds"
	@$(GO) test -count 1 -run '^TestReproducible$$' -timeout 30m ./internal/test/release -cold

fuzz:
	@.ci/fuzz $(FUZZTIME)

# What postseal costs beside others; contrib/performance.md explains the tables.
# It takes some minutes, and more memory in /dev/shm than a small machine has.
bench: root
	@echo "== benchmarks, each interleaved with what it is compared with"
	@$(GO) test -run '^$$' -bench . -benchtime 1x -timeout 1h -p 1 ./internal/test/bench

# The benchmarks of single functions.
microbench:
	@$(GO) test -run '^$$' -bench . -benchmem $$($(GO) list ./... | grep -v /internal/test/bench)

# kill -9 of the three programs at random moments; make test has a short version.
crash: root deps
	@echo "== crash, $(ROUNDS) rounds"
	@cd internal/test/e2e && $(GO) test -count 1 -v -timeout 60m -run '^TestCrash$$' -crash.rounds $(ROUNDS)

# A month of a site with 4,000 mailboxes that come and go, in a quarter of an hour; make
# test has a small one.
site: root deps
	@echo "== a month"
	@cd internal/test/e2e && $(GO) test -count 1 -v -timeout 2h -run '^TestMonth$$' -site.users 4000 -site.days 30

# Postfix at full speed with a challenge every second.
soak: root deps
	@echo "== soak, $(SOAKTIME)"
	@$(GO) vet -tags soak ./internal/test/e2e
	@cd internal/test/e2e && $(GO) test -tags soak -count 1 -v -timeout 24h -run '^TestSoak$$' -soak.time $(SOAKTIME)

clean:
	rm -rf bin dist postseal-demo
