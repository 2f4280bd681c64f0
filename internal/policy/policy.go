// Package policy holds the rules of what the project promises about its own
// shape: which package may import which, how wide interfaces are, that
// everything exported is documented, and what the exported API is. Its tests
// apply them; nothing imports it.
//
//	go test ./internal/policy -update
//
// writes anew what is generated: api/*.txt and the table of README.md.
//
// A rule is a function from source to findings, so that the tests can also show
// it source that breaks it.
package policy
