-- SPDX-License-Identifier: BSD-3-Clause
-- What a capture has and what it has not: struct ledger_row.

CREATE TABLE ledger (
	id INTEGER PRIMARY KEY,         -- the order in which things happened
	capture INTEGER NOT NULL REFERENCES captures (id) ON DELETE CASCADE,
	cause INTEGER NOT NULL,         -- enum ledger_cause
	from_ns INTEGER NOT NULL,
	to_ns INTEGER NOT NULL,         -- 2^63 - 1: it still goes on
	packets INTEGER NOT NULL,
	detail TEXT NOT NULL
) STRICT;
CREATE INDEX ledger_of ON ledger (capture, cause, id);
