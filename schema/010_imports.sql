-- SPDX-License-Identifier: BSD-3-Clause
-- The files that were imported: struct import_row. Not in the spool beside the
-- segments: who lost the catalog is not told of a file that comes twice.
CREATE TABLE imports (
	id INTEGER PRIMARY KEY,         -- the order in which they began
	capture INTEGER NOT NULL REFERENCES captures (id) ON DELETE CASCADE,
	at_ns INTEGER NOT NULL,
	file TEXT NOT NULL,             -- its name, without folders
	state INTEGER NOT NULL,         -- enum import_state
	first_seq INTEGER NOT NULL,     -- its blocks: [first_seq, end_seq)
	end_seq INTEGER NOT NULL,
	packets INTEGER NOT NULL,
	sha256 BLOB NOT NULL            -- of the file as it came
) STRICT;
CREATE INDEX imports_of ON imports (capture, sha256);
