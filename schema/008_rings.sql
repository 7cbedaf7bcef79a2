-- SPDX-License-Identifier: BSD-3-Clause
-- How many rings the kernel fills for a capture; 0 is one.
ALTER TABLE captures ADD COLUMN rings INTEGER NOT NULL DEFAULT 0;
