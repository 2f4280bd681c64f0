package keeper

import _ "embed"

//go:embed keeper_linux_arm64
var binary []byte
