-- SPDX-License-Identifier: BSD-3-Clause
-- The link type that a capture's program was compiled for; -1: not known, and
-- it is compiled again before it is used.
ALTER TABLE captures ADD COLUMN program_link_type INTEGER NOT NULL DEFAULT -1;
