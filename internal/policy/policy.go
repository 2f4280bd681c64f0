// Package policy holds the tests of what the project promises about its own
// shape: which package may import which, how wide interfaces are, that
// everything exported is documented, and what the exported API is. Nothing
// imports it.
//
//	go test ./internal/policy -update
//
// writes anew what is generated: api/*.txt and the table of README.md.
package policy
