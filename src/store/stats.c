/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Questions that only look: what was dropped lately.
 */
#include "store/ledger.h"
#include "store/store_internal.h"

bool ledger_dropped(struct store *s, uint64_t capture, int64_t since_ns,
		    uint64_t *packets, int64_t *last_ns, struct err *e)
{
	sqlite3 *db = catalog_reader(s->catalog, e);
	sqlite3_stmt *q =
		db ? sql_query(db, e,
			       "SELECT coalesce(sum(packets), 0), "
			       "coalesce(max(to_ns), 0) FROM ledger WHERE "
			       "capture = ?1 AND cause BETWEEN ?2 AND ?3 AND "
			       "to_ns > ?4",
			       "iiii", capture, (int64_t)LEDGER_KERNEL,
			       (int64_t)LEDGER_DISK, since_ns)
		   : NULL;
	bool ok = q && sql_step(q, e) == 1;

	if (ok) {
		*packets = (uint64_t)sqlite3_column_int64(q, 0);
		*last_ns = sqlite3_column_int64(q, 1);
	}
	sqlite3_finalize(q);
	sqlite3_close(db);
	return ok;
}
