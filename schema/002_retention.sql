-- SPDX-License-Identifier: BSD-3-Clause
-- What is kept how long. 0: no bound.
ALTER TABLE captures ADD COLUMN keep_bytes INTEGER NOT NULL DEFAULT 0;
ALTER TABLE captures ADD COLUMN keep_age_ns INTEGER NOT NULL DEFAULT 0;

-- The wall clock when the first row was made: rates, and the age of imports.
ALTER TABLE segments ADD COLUMN made_ns INTEGER NOT NULL DEFAULT 0;
-- The file's bytes that are no block's: known when it is closed.
ALTER TABLE segments ADD COLUMN other_bytes INTEGER NOT NULL DEFAULT 0;
-- The file is being removed, or is gone.
ALTER TABLE segments ADD COLUMN expired INTEGER NOT NULL DEFAULT 0;

-- Ranges that retention leaves alone.
CREATE TABLE holds (
	id INTEGER PRIMARY KEY AUTOINCREMENT,
	capture INTEGER NOT NULL REFERENCES captures (id),
	since_ns INTEGER NOT NULL,
	until_ns INTEGER NOT NULL,
	created_ns INTEGER NOT NULL,
	reason TEXT NOT NULL
) STRICT;
CREATE INDEX holds_of ON holds (capture);

-- Instants with a name.
CREATE TABLE marks (
	capture INTEGER NOT NULL REFERENCES captures (id),
	name TEXT NOT NULL,
	at_ns INTEGER NOT NULL,
	PRIMARY KEY (capture, name)
) STRICT, WITHOUT ROWID;

-- Numbers of blocks are not used again when everything has expired.
ALTER TABLE captures ADD COLUMN expired_seq INTEGER NOT NULL DEFAULT 0;
CREATE INDEX segments_expired ON segments (capture, first_seq) WHERE expired;
