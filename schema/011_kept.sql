-- SPDX-License-Identifier: BSD-3-Clause
-- The clock of age.h when the segment's last block was stored: how old it is,
-- and the order in which segments go.
ALTER TABLE segments ADD COLUMN stored_ns INTEGER NOT NULL DEFAULT 0;
UPDATE segments SET stored_ns = min(unixepoch() * 1000000000, iif(
	made_ns > 0 AND (SELECT savefile FROM captures WHERE id = capture),
	made_ns, max_ns));

-- Sums over the segments of a capture that have not expired. The triggers
-- keep them, so that nobody has to visit every segment.
CREATE TABLE kept (
	capture INTEGER PRIMARY KEY,
	segments INTEGER NOT NULL,
	bytes INTEGER NOT NULL,         -- on disk
	raw_bytes INTEGER NOT NULL,
	packets INTEGER NOT NULL
) STRICT;
INSERT INTO kept SELECT capture, count(*), sum(stored_bytes + other_bytes),
	sum(raw_bytes), sum(packets)
	FROM segments WHERE NOT expired GROUP BY capture;
CREATE TRIGGER kept_insert AFTER INSERT ON segments WHEN NOT new.expired
BEGIN
	INSERT INTO kept VALUES (new.capture, 1,
		new.stored_bytes + new.other_bytes, new.raw_bytes, new.packets)
	ON CONFLICT DO UPDATE SET segments = segments + 1,
		bytes = bytes + excluded.bytes,
		raw_bytes = raw_bytes + excluded.raw_bytes,
		packets = packets + excluded.packets;
END;
CREATE TRIGGER kept_update AFTER UPDATE OF stored_bytes, other_bytes,
	raw_bytes, packets, expired ON segments
BEGIN
	UPDATE kept SET
		segments = segments + (NOT new.expired) - (NOT old.expired),
		bytes = bytes
		+ (NOT new.expired) * (new.stored_bytes + new.other_bytes)
		- (NOT old.expired) * (old.stored_bytes + old.other_bytes),
		raw_bytes = raw_bytes + (NOT new.expired) * new.raw_bytes
		- (NOT old.expired) * old.raw_bytes,
		packets = packets + (NOT new.expired) * new.packets
		- (NOT old.expired) * old.packets
	WHERE capture = new.capture;
END;
CREATE TRIGGER kept_delete AFTER DELETE ON segments WHEN NOT old.expired
BEGIN
	UPDATE kept SET segments = segments - 1,
		bytes = bytes - old.stored_bytes - old.other_bytes,
		raw_bytes = raw_bytes - old.raw_bytes,
		packets = packets - old.packets
	WHERE capture = old.capture;
END;
-- What is older than something that goes: little, however much is stored.
CREATE INDEX segments_time ON segments (capture, min_ns);
