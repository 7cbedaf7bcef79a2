/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * pages: an answer that comes in pages.
 *
 * What: calls a method again with the next_page_token of the answer before,
 * until there is none. Threads: one.
 * Ownership: answers and the array of rows are the pages', until pages_done.
 * Limits: PAGES_MAX pages, and none that does not lead on.
 */
#ifndef PCAPD_CLI_PAGES_H
#define PCAPD_CLI_PAGES_H

#include "base/err.h"

#include <protobuf-c/protobuf-c.h>
#include <stddef.h>

#define PAGES_MAX 100
/* As many as pcapd allows a page. */
#define PAGE_ROWS 20000
#define PAGE_INTERVALS 65536

struct pages {
	const char *method;
	const ProtobufCMessage *ask;
	char **token; /* its page_token */
	ProtobufCMessage **answers;
	void **rows; /* of all answers */
	size_t n, n_rows, n_last;
};

/* The next answer; NULL: that was the last, or see e->kind. After each comes
 * pages_rows. */
ProtobufCMessage *pages_next(struct pages *p, struct err *e);
/* Adds the rows of the answer, pointers, which stay the answer's. */
bool pages_rows(struct pages *p, size_t n, void *rows, struct err *e);
/* The token of the page that was not asked for yet; "": there is none. */
const char *pages_left(const struct pages *p);
void pages_done(struct pages *p);

#endif
