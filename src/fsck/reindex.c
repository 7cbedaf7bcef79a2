/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * pcapd reindex. Guarantees that a segment which has an index is left alone,
 * and that a crash in the middle leaves one that the next start puts in order:
 * its row is open while its end is written again.
 */
#include "store/store_internal.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct reindex {
	struct store *store;
	store_say say;
	void *ctx;
	uint64_t *made;
	uint64_t capture, first_seq;
};

static bool has_index(const struct reindex *r)
{
	char name[SEGMENT_NAME_BYTES];
	bool none;

	segment_name(name, r->capture, r->first_seq);
	int fd = openat(r->store->spool_fd, name,
			O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return true; /* nothing can be made of that */
	struct segment_index_place at = segment_index_locate(fd);
	struct segment_index *x =
		segment_index_read(fd, &at, r->capture, r->first_seq);
	struct synopsis *all = segment_index_read_union(fd, &at, r->capture,
							r->first_seq, &none);
	bool has = x && (all || none);

	segment_index_unref(x);
	synopsis_free(all);
	close(fd);
	return has;
}

static bool run_open(sqlite3 *db, void *arg, struct err *e)
{
	const struct reindex *r = arg;

	return sql_exec(db, e,
			"UPDATE segments SET closed = 0 WHERE capture = ?1 "
			"AND first_seq = ?2",
			"ii", r->capture, r->first_seq);
}

static bool reindex_segment(struct reindex *r, struct err *e)
{
	char name[SEGMENT_NAME_BYTES], line[SEGMENT_NAME_BYTES + 32];

	if (has_index(r))
		return true;
	if (!catalog_run(r->store->catalog, run_open, r, e))
		return false;
	segment_name(name, r->capture, r->first_seq);
	snprintf(line, sizeof(line), "%s: gets an index", name);
	r->say(r->ctx, line);
	++*r->made;
	return true;
}

static bool reindex_capture(struct reindex *r, const struct capture_row *row,
			    struct err *e)
{
	struct dirent **files;
	bool ok = true;
	int n = segment_list(r->store->spool_fd, row->id, &files);

	r->capture = row->id;
	for (int i = 0; i < n; i++) {
		if (ok && segment_parse_name(files[i]->d_name, &r->first_seq))
			ok = reindex_segment(r, e);
		free(files[i]);
	}
	if (n >= 0)
		free(files);
	return ok && recover_capture(r->store, row, RECOVER_ODD, e) &&
	       verify_capture(r->store, row, e);
}

bool store_reindex(const struct store_options *o, store_say say, void *ctx,
		   uint64_t *made, struct err *e)
{
	struct reindex r = {.say = say, .ctx = ctx, .made = made};
	struct capture_row *rows = NULL;
	size_t n = 0;

	*made = 0;
	r.store = store_open_for_repair(o, e);
	if (!r.store)
		return false;
	bool ok = spool_adopt(r.store, say, ctx, e) &&
		  store_captures(r.store, &rows, &n, e);
	for (size_t i = 0; i < n; i++) {
		ok = ok && reindex_capture(&r, &rows[i], e);
		capture_row_done(&rows[i]);
	}
	free(rows);
	store_close(r.store);
	return ok;
}
