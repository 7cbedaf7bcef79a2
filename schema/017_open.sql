-- SPDX-License-Identifier: BSD-3-Clause
-- What a start looks at first: little, however much is stored.
CREATE INDEX segments_open ON segments (capture, first_seq) WHERE NOT closed;
