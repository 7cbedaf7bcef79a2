/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Names of interfaces in the catalog. Guarantees a row for each number and name
 * that a capture was told of, within a bound.
 */
#include "store/interface_names.h"

#include "base/log.h"
#include "store/store_internal.h"

#include <stdio.h>
#include <stdlib.h>

struct store_interface_names_job {
	struct catalog_job job;
	uint64_t capture;
	size_t n;
	struct store_name v[];
};

static bool store_interface_names_run_add(sqlite3 *db, struct catalog_job *job,
					  struct err *e)
{
	const struct store_interface_names_job *j =
		(struct store_interface_names_job *)job;

	for (size_t i = 0; i < j->n; i++)
		if (!sql_exec(db, e,
			      "INSERT OR IGNORE INTO interface_names "
			      "SELECT ?1, ?2, ?3, ?4 WHERE EXISTS "
			      "(SELECT 1 FROM captures WHERE id = ?1)",
			      "iiti", j->capture, (int64_t)j->v[i].index,
			      j->v[i].name, j->v[i].since_ns))
			return false;
	return sql_exec(db, e,
			"DELETE FROM interface_names WHERE capture = ?1 AND "
			"since_ns < (SELECT since_ns FROM interface_names "
			"WHERE capture = ?1 ORDER BY since_ns DESC "
			"LIMIT 1 OFFSET ?2)",
			"ii", j->capture,
			(int64_t)STORE_INTERFACE_NAMES_MAX - 1);
}

static void store_interface_names_added(struct catalog_job *job,
					const struct err *e)
{
	if (e)
		log_warn("names of interfaces are not kept: %s", e->what);
	free(job);
}

void store_interface_names_add(struct store *s, uint64_t capture,
			       const struct store_name *v, size_t n)
{
	struct store_interface_names_job *j =
		n ? calloc(1, sizeof(*j) + n * sizeof(*v)) : NULL;

	if (!j)
		return;
	j->job.run = store_interface_names_run_add;
	j->job.done = store_interface_names_added;
	j->capture = capture;
	j->n = n;
	memcpy(j->v, v, n * sizeof(*v));
	catalog_post(s->catalog, &j->job);
}

bool store_interface_names_list(struct store *s, uint64_t capture, size_t max,
				struct store_name **v, size_t *n, struct err *e)
{
	sqlite3 *db = catalog_reader(s->catalog, e);
	sqlite3_stmt *q =
		db ? sql_query(db, e,
			       "SELECT ifindex, name, since_ns FROM (SELECT * "
			       "FROM interface_names WHERE capture = ?1 "
			       "ORDER BY since_ns DESC, ifindex DESC LIMIT ?2) "
			       "ORDER BY since_ns, ifindex",
			       "ii", capture, (int64_t)max)
		   : NULL;
	int got = -1;

	*n = 0;
	*v = calloc(max + 1, sizeof(**v));
	while (*v && q && *n < max && (got = sql_step(q, e)) == 1) {
		struct store_name *one = &(*v)[(*n)++];
		const unsigned char *name = sqlite3_column_text(q, 1);

		one->index = (uint32_t)sqlite3_column_int64(q, 0);
		one->since_ns = sqlite3_column_int64(q, 2);
		snprintf(one->name, sizeof(one->name), "%s",
			 name ? (const char *)name : "");
	}
	sqlite3_finalize(q);
	sqlite3_close(db);
	if (*v && got >= 0)
		return true;
	if (!*v)
		err_set(e, ERR_FAILED, "out of memory");
	free(*v);
	*v = NULL;
	return false;
}
