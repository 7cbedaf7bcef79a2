-- SPDX-License-Identifier: BSD-3-Clause
-- Who did what: struct audit_row. lasted_ns -1: it is under way, or pcapd
-- ended before it did.
CREATE TABLE audit (
	id INTEGER PRIMARY KEY,         -- the order in which things began
	at_ns INTEGER NOT NULL,
	who TEXT NOT NULL,
	role TEXT NOT NULL,
	origin TEXT NOT NULL,           -- address and port, or the user's number
	method TEXT NOT NULL,
	capture TEXT NOT NULL,          -- as it was named
	filter TEXT NOT NULL,
	since_ns INTEGER NOT NULL,
	until_ns INTEGER NOT NULL,
	detail TEXT NOT NULL,           -- what else was asked for
	bytes INTEGER NOT NULL,
	lasted_ns INTEGER NOT NULL,
	status INTEGER NOT NULL,        -- of gRPC
	result TEXT NOT NULL
) STRICT;
CREATE INDEX audit_of ON audit (who, id);

-- Who may see a capture: names with blanks between. Empty: everybody.
ALTER TABLE captures ADD COLUMN people TEXT NOT NULL DEFAULT '';
