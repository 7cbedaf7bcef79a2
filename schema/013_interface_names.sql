-- SPDX-License-Identifier: BSD-3-Clause
-- What the interfaces were called whose numbers are in the packets of a capture
-- on every interface, as long as it ran: struct interface_name.
CREATE TABLE interface_names (
	capture INTEGER NOT NULL REFERENCES captures (id) ON DELETE CASCADE,
	ifindex INTEGER NOT NULL,       -- as in the headers of SLL2
	name TEXT NOT NULL,
	since_ns INTEGER NOT NULL,      -- when it was seen first
	PRIMARY KEY (capture, ifindex, name)
) STRICT, WITHOUT ROWID;
