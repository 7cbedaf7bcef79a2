-- SPDX-License-Identifier: BSD-3-Clause
-- Captures, their aliases, and what is stored of them. Times are ns since 1970.

-- An id is never used again: it is the name of a folder in the spool.
CREATE TABLE captures (
	id INTEGER PRIMARY KEY AUTOINCREMENT,
	savefile INTEGER NOT NULL,      -- made by import
	wanted INTEGER NOT NULL,        -- running, resumed at the next start
	promiscuous INTEGER NOT NULL,
	interface TEXT NOT NULL,
	filter TEXT NOT NULL,
	program BLOB NOT NULL,          -- the compiled filter
	link_type INTEGER NOT NULL,
	snaplen INTEGER NOT NULL,
	buffer_bytes INTEGER NOT NULL,
	created_ns INTEGER NOT NULL,
	deleted INTEGER NOT NULL DEFAULT 0  -- its files are being removed
) STRICT;

CREATE TABLE aliases (
	alias TEXT PRIMARY KEY,
	capture INTEGER NOT NULL REFERENCES captures (id)
) STRICT, WITHOUT ROWID;
CREATE INDEX aliases_of ON aliases (capture);

-- A file. Sums and bounds are over its rows in blocks.
CREATE TABLE segments (
	capture INTEGER NOT NULL REFERENCES captures (id),
	first_seq INTEGER NOT NULL,
	last_seq INTEGER NOT NULL,
	link_type INTEGER NOT NULL,
	snaplen INTEGER NOT NULL,
	closed INTEGER NOT NULL,        -- the footer is written
	stored_bytes INTEGER NOT NULL,  -- of frames
	raw_bytes INTEGER NOT NULL,
	packets INTEGER NOT NULL,
	min_ns INTEGER NOT NULL,
	max_ns INTEGER NOT NULL,
	PRIMARY KEY (capture, first_seq)
) STRICT, WITHOUT ROWID;

-- A frame: struct block_info, message BlockInfo.
CREATE TABLE blocks (
	capture INTEGER NOT NULL,
	seq INTEGER NOT NULL,
	segment INTEGER NOT NULL,
	offset INTEGER NOT NULL,
	stored_bytes INTEGER NOT NULL,
	raw_bytes INTEGER NOT NULL,
	packets INTEGER NOT NULL,
	first_ns INTEGER NOT NULL,
	last_ns INTEGER NOT NULL,
	min_ns INTEGER NOT NULL,
	max_ns INTEGER NOT NULL,
	PRIMARY KEY (capture, seq),
	FOREIGN KEY (capture, segment) REFERENCES segments (capture, first_seq)
) STRICT, WITHOUT ROWID;
