/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Rows of captures. Guarantees that each field of CAPTURE_FIELDS is read and
 * put, and that a row is whole or not there. Leaves out what changes a single
 * one: store.c, annotations.c, retention.c.
 */
#include "store/capture_row.h"
#include "store/store_internal.h"

#include "base/vec.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define FIELD(name, kind, owner)                                               \
	{#name, FIELD_##kind, OWNER_##owner,                                   \
	 offsetof(struct capture_row, name),                                   \
	 sizeof(((struct capture_row *)0)->name)},
const struct capture_field capture_fields[] = {
	CAPTURE_FIELDS(FIELD){.name = 0}};

uint64_t capture_field_number(const struct capture_row *r,
			      const struct capture_field *f)
{
	const void *at = (const char *)r + f->at;

	if (f->bytes == sizeof(bool))
		return *(const bool *)at;
	if (f->bytes == sizeof(uint32_t))
		return *(const uint32_t *)at;
	assert(f->bytes == sizeof(uint64_t));
	return *(const uint64_t *)at;
}

void capture_field_set_number(struct capture_row *r,
			      const struct capture_field *f, uint64_t n)
{
	void *at = (char *)r + f->at;

	if (f->bytes == sizeof(bool))
		*(bool *)at = n;
	else if (f->bytes == sizeof(uint32_t))
		*(uint32_t *)at = (uint32_t)n;
	else
		*(uint64_t *)at = n;
}

const char *capture_field_text(const struct capture_row *r,
			       const struct capture_field *f)
{
	const char *at = (const char *)r + f->at;

	return f->kind == FIELD_TEXT ? *(char *const *)at : at;
}

bool capture_field_set_text(struct capture_row *r,
			    const struct capture_field *f, const char *text)
{
	char *at = (char *)r + f->at, **to = (char **)at;

	if (f->kind == FIELD_WORD) {
		snprintf(at, f->bytes, "%s", text);
		return true;
	}
	free(*to);
	*to = strdup(text);
	return *to;
}

bool capture_row_add_alias(struct capture_row *r, const char *alias)
{
	char *copy = alias ? strdup(alias) : NULL;
	char **to = copy ? vec_push(&r->aliases, &r->n_aliases) : NULL;

	if (to)
		*to = copy;
	else
		free(copy);
	return to;
}

void capture_row_done(struct capture_row *r)
{
	for (size_t i = 0; i < r->n_aliases; i++)
		free(r->aliases[i]);
	free(r->aliases);
	free(r->interface);
	free(r->filter);
	free(r->program);
	memset(r, 0, sizeof(*r));
}

bool capture_row_set_program(struct capture_row *r, const void *program,
			     size_t n)
{
	free(r->program);
	r->program = malloc(n + 1);
	r->program_bytes = r->program ? n : 0;
	if (r->program_bytes)
		memcpy(r->program, program, n);
	return r->program;
}

static bool capture_row_aliases(sqlite3 *db, struct capture_row *r,
				struct err *e)
{
	sqlite3_stmt *q = sql_query(db, e,
				    "SELECT alias FROM aliases "
				    "WHERE capture = ?1 ORDER BY alias",
				    "i", r->id);
	int got = -1;

	while (q && (got = sql_step(q, e)) == 1) {
		if (!capture_row_add_alias(
			    r, (const char *)sqlite3_column_text(q, 0))) {
			got = -!err_no_memory(e, "catalog");
			break;
		}
	}
	sqlite3_finalize(q);
	return got == 0;
}

/* Its first column is id, then come the fields. */
static bool capture_row_load(sqlite3 *db, sqlite3_stmt *q,
			     struct capture_row *r, struct err *e)
{
	bool ok = true;

	memset(r, 0, sizeof(*r));
	r->id = (uint64_t)sqlite3_column_int64(q, 0);
	for (int i = 0; ok && capture_fields[i].name; i++) {
		const struct capture_field *f = &capture_fields[i];

		if (f->kind == FIELD_NUMBER) {
			capture_field_set_number(
				r, f, (uint64_t)sqlite3_column_int64(q, i + 1));
		} else if (f->kind == FIELD_PROGRAM) {
			size_t n = (size_t)sqlite3_column_bytes(q, i + 1);

			ok = capture_row_set_program(
				r, sqlite3_column_blob(q, i + 1), n);
		} else {
			const void *text = sqlite3_column_text(q, i + 1);

			ok = capture_field_set_text(r, f, text ? text : "");
		}
	}
	if (!ok)
		err_no_memory(e, "catalog");
	if (ok && capture_row_aliases(db, r, e))
		return true;
	capture_row_done(r);
	return false;
}

#define COLUMN(name, kind, owner) ", " #name
#define SELECT_CAPTURE "SELECT id" CAPTURE_FIELDS(COLUMN) " FROM captures "

#define PUT_DEFINITION(name, what) what(name)
#define PUT_CATALOG(name, what) what(name)
#define PUT_STORE(name, what)
#define PUT_NAME_OF(name) ", " #name
#define PUT_NAME(name, kind, owner) PUT_##owner(name, PUT_NAME_OF)
#define PUT_VALUE_OF(name) ", ?"
#define PUT_VALUE(name, kind, owner) PUT_##owner(name, PUT_VALUE_OF)
#define AGAIN_DEFINITION(name) ", " #name " = excluded." #name
#define AGAIN_CATALOG(name)
#define AGAIN_STORE(name)
#define AGAIN(name, kind, owner) AGAIN_##owner(name)
#define PUT_CAPTURE                                                            \
	"INSERT INTO captures (id" CAPTURE_FIELDS(                             \
		PUT_NAME) ") VALUES "                                          \
			  "(?" CAPTURE_FIELDS(                                 \
				  PUT_VALUE) ") ON CONFLICT (id) DO UPDATE "   \
					     "SET "                            \
					     "deleted = 0" CAPTURE_FIELDS(     \
						     AGAIN)

static int capture_row_bind(sqlite3_stmt *q, int at,
			    const struct capture_row *r,
			    const struct capture_field *f)
{
	switch (f->kind) {
	case FIELD_NUMBER:
		return sqlite3_bind_int64(q, at,
					  (int64_t)capture_field_number(r, f));
	case FIELD_PROGRAM:
		return sqlite3_bind_blob64(q, at, r->program ? r->program : "",
					   r->program_bytes, SQLITE_STATIC);
	default:
		return sqlite3_bind_text(q, at, capture_field_text(r, f), -1,
					 SQLITE_STATIC);
	}
}

bool rows_put_capture(sqlite3 *db, const struct capture_row *r, bool is_new,
		      struct err *e)
{
	sqlite3_stmt *q = sql_query(db, e, PUT_CAPTURE, "");
	int at = 1, rc = SQLITE_OK;

	if (!q)
		return false;
	if (!is_new)
		rc = sqlite3_bind_int64(q, at, (int64_t)r->id);
	for (const struct capture_field *f = capture_fields;
	     rc == SQLITE_OK && f->name; f++)
		if (f->owner != OWNER_STORE)
			rc = capture_row_bind(q, ++at, r, f);
	bool ok = rc == SQLITE_OK ? sql_step(q, e) >= 0
				  : err_no_memory(e, "catalog");
	sqlite3_finalize(q);
	return ok;
}

bool rows_capture(sqlite3 *db, uint64_t id, struct capture_row *row,
		  struct err *e)
{
	sqlite3_stmt *q =
		sql_query(db, e, SELECT_CAPTURE "WHERE id = ?1", "i", id);
	int got = q ? sql_step(q, e) : -1;
	bool ok = got == 1 && capture_row_load(db, q, row, e);

	if (got == 0)
		err_set(e, ERR_NOT_FOUND, "catalog: no capture %" PRIu64, id);
	sqlite3_finalize(q);
	return ok;
}

bool store_capture(struct store *s, uint64_t id, struct capture_row *row,
		   struct err *e)
{
	sqlite3 *db = catalog_reader(s->catalog, e);
	bool ok = db && rows_capture(db, id, row, e);

	sqlite3_close(db);
	return ok;
}

bool rows_captures(sqlite3 *db, bool deleted, struct capture_row **rows,
		   size_t *n, struct err *e)
{
	sqlite3_stmt *q = sql_query(
		db, e, SELECT_CAPTURE "WHERE deleted = ?1 ORDER BY id", "i",
		(int64_t)deleted);
	struct capture_row *all = NULL;
	size_t count = 0;
	int got = -1;

	while (q && (got = sql_step(q, e)) == 1) {
		struct capture_row *row = vec_push(&all, &count);

		if (!row || !capture_row_load(db, q, row, e)) {
			got = -(row || !err_no_memory(e, "catalog"));
			break;
		}
	}
	sqlite3_finalize(q);
	if (got == 0) {
		*rows = all;
		*n = count;
		return true;
	}
	while (count > 0)
		capture_row_done(&all[--count]);
	free(all);
	return false;
}

bool store_captures(struct store *s, struct capture_row **rows, size_t *n,
		    struct err *e)
{
	sqlite3 *db = catalog_reader(s->catalog, e);
	bool ok = db && rows_captures(db, false, rows, n, e);

	sqlite3_close(db);
	return ok;
}
