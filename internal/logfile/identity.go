package logfile

import "os"

// Identity tells a file from all others that ever had its name, or its number.
type Identity struct {
	Inode uint64 `json:"inode"`
	// Born is when it was made, in nanoseconds since 1970; 0 where the file system
	// does not say.
	Born int64 `json:"born,omitempty"`
}

// Open opens a file of a folder for reading. Whatever else stands under the name, a
// link or a FIFO that would block, is reported as absent.
func Open(dir, name string) (*os.File, Identity, error) {
	f, err := openLog(dir, name)
	if err != nil {
		return nil, Identity{}, err
	}
	id, err := identityOf(f)
	if err != nil {
		_ = f.Close()
		return nil, Identity{}, err
	}
	return f, id, nil
}
