-- SPDX-License-Identifier: BSD-3-Clause
-- What a start gives its end to, as the pcapd before it did not live to.
CREATE INDEX audit_open ON audit (id) WHERE lasted_ns < 0;
