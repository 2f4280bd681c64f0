# The two commands for newcomers are `make demo` and `make test`.

.PHONY: demo demo-vm test quick setup setup-libvirt generate clean

demo: setup   ## pull, start, talk to and remove a real container
	@scripts/demo

demo-vm: setup-libvirt  ## boot, talk to, set back and remove a real virtual machine
	@scripts/demo-vm

test: setup-libvirt  ## everything that has to hold, on the fake and on real backends
	@scripts/test full

quick: setup-libvirt  ## the daily loop: under five minutes
	@scripts/test quick

setup:        ## install what is missing (Debian; needs root only if something is)
	@scripts/setup

setup-libvirt: ## the same, and what the tests of virtual machines need
	@scripts/setup libvirt

generate:     ## rebuild what is generated: the helper, the API lists, the tables
	go generate ./...
	go test ./internal/policy -update

clean:        ## remove what builds and tests cached
	rm -rf .cache bin
