/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Import: a thread that hands a client's bytes to control as if they were a
 * file. Guarantees that the end of the stream, a file that the client could not
 * read on and a client that went away are not the same, that what came before
 * is kept in each case, and that at most one message is held. Leaves out what
 * the bytes are: see capture.h.
 */
#include "server/import.h"

#include "server/audit.h"
#include "server/call.h"
#include "server/server_internal.h"
#include "server/text.h"
#include "server/wire.h"

#define FILE_MAX 4096

typedef Pcap__V1__ImportRequest Request;

struct server_import_import {
	struct call *call;
	Request *current; /* NULL: the call's first message */
	const uint8_t *data;
	size_t left;
	const char *cut; /* of the message; "": the file goes on */
	bool ended;
	/* Under the call's lock. */
	Request *next;
	bool next_is_end;
};

/* On the completion-queue thread. */
void import_more(struct call *c, ProtobufCMessage *m)
{
	pthread_mutex_lock(&c->lock);
	struct server_import_import *im = c->state;
	if (im) {
		im->next = (Request *)m;
		im->next_is_end = !m;
		pthread_cond_broadcast(&c->news);
	}
	pthread_mutex_unlock(&c->lock);
	/* The import has ended meanwhile. */
	if (!im && m)
		protobuf_c_message_free_unpacked(m, NULL);
}

static void import_free(Request *m)
{
	if (m)
		protobuf_c_message_free_unpacked(&m->base, NULL);
}

/* Asked for only when the last one is used: flow control does the rest. */
static bool server_import_next_message(struct server_import_import *im,
				       struct err *e)
{
	struct call *c = im->call;

	import_free(im->current);
	call_receive(c);
	pthread_mutex_lock(&c->lock);
	while (!im->next && !im->next_is_end && !call_has_ended(c) &&
	       !call_is_stopping(c))
		pthread_cond_wait(&c->news, &c->lock);
	im->current = im->next;
	im->next = NULL;
	im->ended = im->next_is_end;
	pthread_mutex_unlock(&c->lock);
	if (im->current) {
		im->data = im->current->data.data;
		im->left = im->current->data.len;
		im->cut = im->current->cut;
		return true;
	}
	if (im->ended)
		return true;
	if (call_is_stopping(c))
		return err_set(e, ERR_UNREACHABLE, "pcapd is stopping");
	return err_set(e, ERR_CANCELLED, "the client went away");
}

static int64_t read_upload(void *ctx, void *to, size_t n, struct err *e)
{
	struct server_import_import *im = ctx;

	while (im->left == 0 && !im->ended) {
		if (*im->cut) {
			err_set(e, ERR_INCOMPLETE, "%s", im->cut);
			return -1;
		}
		if (!server_import_next_message(im, e))
			return -1;
	}
	if (n > im->left)
		n = im->left;
	if (n == 0)
		return 0;
	memcpy(to, im->data, n);
	im->data += n;
	im->left -= n;
	return (int64_t)n;
}

static bool server_import_check_request(struct call *c, const Request *r,
					struct err *e)
{
	char people[PEOPLE_MAX + 1];
	size_t n = strlen(r->file);
	struct err ignored;
	uint64_t id;

	if (!*r->alias)
		return err_set(e, ERR_USAGE,
			       "expected an alias to import into, got nothing");
	if (control_people(c->server->control, r->alias, &id, people,
			   &ignored) &&
	    !peer_sees(c->peer, people))
		return err_set(e, ERR_EXISTS, "alias '%.80s' is taken",
			       r->alias);
	return n <= FILE_MAX || err_set(e, ERR_USAGE,
					"expected a file name of at most %d "
					"bytes, got %zu",
					FILE_MAX, n);
}

static void import_answer(struct call *c, struct import_done *d, struct err *e)
{
	Pcap__V1__ImportResponse a = PCAP__V1__IMPORT_RESPONSE__INIT;
	Pcap__V1__Capture capture;
	char *notes[IMPORT_NOTES];

	wire_capture(&capture, &d->view);
	a.capture = &capture;
	a.created = d->created;
	a.packets = d->packets;
	a.raw_bytes = d->raw_bytes;
	if (e->kind)
		a.incomplete = e->what;
	for (unsigned i = 0; i < d->n_notes; i++) {
		text_clean(d->notes[i]);
		notes[i] = d->notes[i];
	}
	a.n_notes = d->n_notes;
	a.notes = notes;
	audit_outcome(c, e);
	call_answer(c, &a.base);
}

void run_import(struct call *c)
{
	const Request *r = (const void *)c->request;
	struct server_import_import im = {
		.call = c,
		.data = r->data.data,
		.left = r->data.len,
		.cut = r->cut,
	};
	struct import_done d = {0};
	struct err e = ERR_INIT;

	call_attach(c, &im);
	bool ok = server_import_check_request(c, r, &e) &&
		  control_import(c->server->control, r->alias,
				 *r->file ? r->file : "savefile", read_upload,
				 &im, &d, &e);
	text_clean(e.what);
	if (ok)
		e.kind = ERR_NONE;
	if (d.kept) {
		import_answer(c, &d, &e);
		capture_view_done(&d.view);
	} else {
		call_fail(c, &e);
	}
	call_attach(c, NULL);
	import_free(im.current);
	import_free(im.next);
}
