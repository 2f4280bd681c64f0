// Package logfile keeps the output of instances in files that outlive the
// process that started them.
//
// One folder belongs to one instance. Each run of the instance has a token,
// and the folder holds for each run:
//
//	RUN.writer        a FIFO that the writer holds open and locked for its life
//	RUN.000001.log    the records, and after a rotation
//	RUN.000002.log    the records that follow
//
// A file is never renamed and never written to after a later one exists, so a
// reader follows a rotation by looking for the next number. Nothing ever flows
// through the FIFO: that it has a writer says that more may come, and the
// kernel takes it away with the process, however that ended.
//
// The records are those of Kubernetes' container runtime interface:
//
//	2006-01-02T15:04:05.000000000Z stdout F content
//
// F ends a line. P is a piece of one: of a line longer than [MaxRecord], or of
// a last line that had no newline. Times are UTC and never decrease within a
// run. Where output was lost because the disk was full, a record with the tag
// F:lost=N stands in its place.
//
// Readers trust nothing that they find: symbolic links, special files, torn and
// corrupt records and lines of any length are passed over.
package logfile
