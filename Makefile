# The two commands for newcomers are `make demo` and `make test`.

.PHONY: demo test quick setup generate clean

demo: setup   ## pull, start, talk to and remove a real container
	@scripts/demo

test: setup   ## everything that has to hold, on the fake and on real backends
	@scripts/test full

quick: setup  ## the daily loop: under five minutes
	@scripts/test quick

setup:        ## install what is missing (Debian; needs root only if something is)
	@scripts/setup

generate:     ## rebuild what is generated: the helper, the API lists, the tables
	go generate ./...
	go test ./internal/policy -update

clean:        ## remove what builds and tests cached
	rm -rf .cache bin
