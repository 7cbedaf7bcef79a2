/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Rows by SQL, and files that are holes. Leaves out the footers: nobody opens
 * the files of segments that are closed and as long as their rows say.
 */
#include "many.h"

#include "store/row_sum.h"
#include "store/segment_file.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define STORED 500 /* of a block */
#define OTHER 100  /* of a file */

static void run(sqlite3 *db, const char *sql)
{
	if (sqlite3_exec(db, sql, NULL, NULL, NULL) == SQLITE_OK)
		return;
	fprintf(stderr, "%s: %s\n", sqlite3_errmsg(db), sql);
	exit(1);
}

static int64_t number(sqlite3 *db, const char *sql)
{
	sqlite3_stmt *q = NULL;

	if (sqlite3_prepare_v2(db, sql, -1, &q, NULL) != SQLITE_OK ||
	    sqlite3_step(q) != SQLITE_ROW) {
		fprintf(stderr, "%s: %s\n", sqlite3_errmsg(db), sql);
		exit(1);
	}
	int64_t n = sqlite3_column_int64(q, 0);
	sqlite3_finalize(q);
	return n;
}

#define COUNTED                                                                \
	"WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n "      \
	"WHERE i + 1 < %" PRIu64 ") "

/* Behind the last number `at` that there is. */
static void make_rows(sqlite3 *db, uint64_t id, uint64_t at, uint64_t segments,
		      uint64_t blocks)
{
	char sql[2048];

	/* Every second from 2020 on. */
	snprintf(sql, sizeof(sql),
		 COUNTED "INSERT INTO segments (capture, first_seq, last_seq, "
			 "link_type, snaplen, closed, stored_bytes, raw_bytes, "
			 "packets, min_ns, max_ns, made_ns, other_bytes, "
			 "stored_ns, blocks_sum) SELECT %" PRIu64 ", %" PRIu64
			 " + %" PRIu64 " * i + 1, %" PRIu64 " + %" PRIu64
			 " * (i + 1), 1, 262144, 1, %d * %" PRIu64
			 ", 1000 * %" PRIu64 ", 10 * %" PRIu64
			 ", (1577836800 + i) * 1000000000, (1577836801 + i) * "
			 "1000000000 - 1, (1577836800 + i) * 1000000000, %d, "
			 "(1577836801 + i) * 1000000000, 0 FROM n",
		 segments, id, at, blocks, at, blocks, STORED, blocks, blocks,
		 blocks, OTHER);
	run(db, sql);
	snprintf(sql, sizeof(sql),
		 COUNTED "INSERT INTO blocks SELECT capture, first_seq + i, "
			 "first_seq, %d + %d * i, %d, 1000, 10, min_ns, "
			 "max_ns, min_ns, max_ns FROM segments, n WHERE "
			 "capture = %" PRIu64 " AND first_seq > %" PRIu64,
		 blocks, OTHER, STORED, STORED, id, at);
	run(db, sql);
	snprintf(sql, sizeof(sql),
		 "UPDATE segments SET blocks_sum = (SELECT row_sum_total("
		 "b.capture, b.seq, b.segment, b.offset, b.stored_bytes, "
		 "b.raw_bytes, b.packets, b.first_ns, b.last_ns, b.min_ns, "
		 "b.max_ns) FROM blocks b WHERE b.capture = segments.capture "
		 "AND b.seq BETWEEN segments.first_seq AND segments.last_seq), "
		 "sum = " SEGMENT_SUM " WHERE capture = %" PRIu64
		 " AND first_seq > %" PRIu64,
		 id, at);
	run(db, sql);
}

static void make_more(sqlite3 *db, uint64_t id, uint64_t rows, uint64_t imports)
{
	char sql[1024];

	snprintf(sql, sizeof(sql),
		 COUNTED "INSERT INTO ledger (capture, cause, from_ns, to_ns, "
			 "packets, detail) SELECT %" PRIu64
			 ", i %% 5 + 1, (1577836800 + i) * 1000000000, "
			 "(1577836800 + i) * 1000000000 + 1000, 1, '' FROM n "
			 "WHERE %" PRIu64,
		 rows ? rows : 1, id, rows);
	run(db, sql);
	run(db, "UPDATE ledger SET sum = " LEDGER_SUM);
	snprintf(sql, sizeof(sql),
		 COUNTED "INSERT INTO imports (capture, at_ns, file, state, "
			 "first_seq, end_seq, packets, sha256) SELECT %" PRIu64
			 ", 1, 'file', 2, i + 1, i + 2, 10, x'00' FROM n WHERE "
			 "%" PRIu64,
		 imports ? imports : 1, id, imports);
	run(db, sql);
}

static void make_files(const char *spool, uint64_t id, uint64_t at,
		       uint64_t segments, uint64_t blocks)
{
	char file[SEGMENT_NAME_BYTES], path[4096];

	for (uint64_t i = 0; i < segments; i++) {
		segment_name(file, id, at + blocks * i + 1);
		snprintf(path, sizeof(path), "%s/%s", spool, file);
		int fd = open(path, O_CREAT | O_WRONLY, 0640);
		if (fd < 0 ||
		    ftruncate(fd, (off_t)(STORED * blocks + OTHER)) < 0) {
			perror(path);
			exit(1);
		}
		close(fd);
	}
}

void many_make(const char *spool, const struct many *m)
{
	char path[4096];
	sqlite3 *db;
	struct err e;

	snprintf(path, sizeof(path), "%s/catalog.db", spool);
	if (sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, NULL) !=
		    SQLITE_OK ||
	    !row_sum_define(db, &e)) {
		fprintf(stderr, "%s: %s\n", path, sqlite3_errmsg(db));
		exit(1);
	}
	uint64_t id = (uint64_t)number(db, "SELECT max(id) FROM captures");
	uint64_t at = (uint64_t)number(db, "SELECT coalesce(max(last_seq), 0) "
					   "FROM segments WHERE capture = "
					   "(SELECT max(id) FROM captures)");
	run(db, "PRAGMA synchronous = OFF; BEGIN");
	if (m->segments)
		make_rows(db, id, at, m->segments, m->blocks);
	make_more(db, id, m->ledger, m->imports);
	run(db, "COMMIT");
	sqlite3_close(db);
	make_files(spool, id, at, m->segments, m->blocks);
}
