-- SPDX-License-Identifier: BSD-3-Clause
-- Which capture it is, also in a spool that was copied: in the file `capture`
-- and in footers.
ALTER TABLE captures ADD COLUMN uuid TEXT NOT NULL DEFAULT '';
UPDATE captures SET uuid = lower(hex(randomblob(16)));
-- Counts changes of the definition, names, holds and marks: the file `capture`
-- has it too, so that it is known which of the two is newer.
ALTER TABLE captures ADD COLUMN changes INTEGER NOT NULL DEFAULT 1;

-- Sums of the other columns (row_sum.h), of the row and of its blocks' rows.
-- NULL: not known.
ALTER TABLE segments ADD COLUMN sum INTEGER;
ALTER TABLE segments ADD COLUMN blocks_sum INTEGER;
ALTER TABLE ledger ADD COLUMN sum INTEGER;
