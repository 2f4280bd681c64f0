package keeper

import _ "embed"

//go:embed keeper_linux_amd64
var binary []byte
