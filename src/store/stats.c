/*
 * Questions that only look: what was dropped lately, what a bound would remove.
 * Guarantees nothing about what happens between the question and the deed.
 */
#include "ledger.h"
#include "spool.h"

/* ?2: imports are spared. Which segments may go is retain.c's; this is its
 * answer but for what changes meanwhile. */
#define STATS_SCOPE                                                            \
	"FROM segments s JOIN captures c ON c.id = s.capture "                 \
	"WHERE NOT s.expired AND NOT c.deleted AND (c.id = ?1 OR (?1 = 0 AND " \
	"NOT (c.savefile AND ?2))) "
#define STATS_FREE                                                             \
	"s.closed AND NOT EXISTS (SELECT 1 FROM holds h WHERE h.capture = "    \
	"s.capture AND s.max_ns >= h.since_ns AND s.min_ns < h.until_ns) "

static bool stats_total(sqlite3 *db, uint64_t id, bool spare, uint64_t *bytes,
			struct err *e)
{
	sqlite3_stmt *q = sql_query(db, e,
				    "SELECT coalesce(sum(s.stored_bytes + "
				    "s.other_bytes), 0) " STATS_SCOPE,
				    "ii", id, (int64_t)spare);
	bool ok = q && sql_step(q, e) == 1;

	if (ok)
		*bytes = (uint64_t)sqlite3_column_int64(q, 0);
	sqlite3_finalize(q);
	return ok;
}

/* The clock of stored_ns. A look does not change what it believes. */
static int64_t stats_age(struct store *s)
{
	int64_t ignored;

	pthread_mutex_lock(&s->lock);
	struct age_clock age = s->age;
	pthread_mutex_unlock(&s->lock);
	return age_now(&age, clocks_now(), &ignored);
}

bool store_would_remove(struct store *s, uint64_t id, uint64_t keep_bytes,
			int64_t keep_age_ns, struct store_removal *r,
			struct err *e)
{
	sqlite3 *db = catalog_reader(s->catalog, e);
	int64_t oldest_ns =
		keep_age_ns ? stats_age(s) - keep_age_ns : INT64_MIN;
	struct store_options o;
	uint64_t left = 0;
	int got = -1;

	*r = (struct store_removal){.segments = 0};
	store_options_now(s, &o);
	bool ok = db && stats_total(db, id, o.spare_imports, &left, e);
	sqlite3_stmt *q =
		ok ? sql_query(db, e,
			       "SELECT s.stored_bytes + s.other_bytes, "
			       "s.packets, s.stored_ns, " STATS_FREE STATS_SCOPE
			       "ORDER BY s.stored_ns, s.first_seq",
			       "ii", id, (int64_t)o.spare_imports)
		   : NULL;
	while (q && (got = sql_step(q, e)) == 1) {
		uint64_t bytes = (uint64_t)sqlite3_column_int64(q, 0);
		bool over = keep_bytes && left > keep_bytes;

		if (!over && sqlite3_column_int64(q, 2) >= oldest_ns)
			break;
		if (!sqlite3_column_int(q, 3))
			continue;
		r->segments++;
		r->bytes += bytes;
		r->packets += (uint64_t)sqlite3_column_int64(q, 1);
		left -= bytes;
	}
	sqlite3_finalize(q);
	sqlite3_close(db);
	return got >= 0;
}

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
