-- SPDX-License-Identifier: BSD-3-Clause
-- Which capture a row of the audit is about, and who may see that, as it was
-- set last: who may not see a capture does not read of it. 0: none, or not
-- known.
ALTER TABLE audit ADD COLUMN capture_id INTEGER NOT NULL DEFAULT 0;
ALTER TABLE audit ADD COLUMN people TEXT NOT NULL DEFAULT '';
CREATE INDEX audit_about ON audit (capture_id);
