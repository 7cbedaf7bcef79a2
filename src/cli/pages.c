/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Answers in pages. Guarantees an end, whatever pcapd answers. Leaves out what
 * a row is.
 */
#include "cli/pages.h"

#include "base/vec.h"
#include "cli/cli.h"

#include <stdlib.h>
#include <string.h>

const char *pages_left(const struct pages *p)
{
	if (p->n == 0)
		return "";
	const ProtobufCMessage *m = p->answers[p->n - 1];
	const ProtobufCFieldDescriptor *f =
		protobuf_c_message_descriptor_get_field_by_name(
			m->descriptor, "next_page_token");

	return *(char *const *)((const char *)m + f->offset);
}

/* Does the token lead on? */
static bool pages_check(const struct pages *p, const char *token, struct err *e)
{
	if (!p->n_last || !strcmp(token, *p->token)) {
		err_set(e, ERR_FAILED,
			"%s: expected a page that leads on, got one without "
			"rows, or with the token of the one before",
			p->method);
		return err_hint(e, "The daemon does not keep to pcap.proto.");
	}
	if (p->n < PAGES_MAX)
		return true;
	err_set(e, ERR_LIMIT, "%s: expected at most %d pages, got more",
		p->method, PAGES_MAX);
	return err_hint(e, "Ask for a shorter range: --last 1d.");
}

ProtobufCMessage *pages_next(struct pages *p, struct err *e)
{
	const char *token = pages_left(p);

	if (p->n && (!*token || !pages_check(p, token, e)))
		return NULL;
	if (p->n)
		*p->token = (char *)token;
	ProtobufCMessage **m = vec_push(&p->answers, &p->n);
	if (!m) {
		err_set(e, ERR_FAILED, "out of memory");
		return NULL;
	}
	*m = cli_call(p->method, p->ask, e);
	if (!*m)
		p->n--;
	return *m;
}

bool pages_rows(struct pages *p, size_t n, void *rows, struct err *e)
{
	p->n_last = n;
	for (size_t i = 0; i < n; i++) {
		void **row = vec_push(&p->rows, &p->n_rows);

		if (!row)
			return err_set(e, ERR_FAILED, "out of memory");
		*row = ((void **)rows)[i];
	}
	return true;
}

void pages_done(struct pages *p)
{
	for (size_t i = 0; i < p->n; i++)
		protobuf_c_message_free_unpacked(p->answers[i], NULL);
	free(p->answers);
	free(p->rows);
}
