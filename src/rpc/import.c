/*
 * Import: a thread that hands a client's bytes to control as if they were a
 * file. Guarantees that the end of the stream and a client that went away are
 * not the same, and that at most one message is held. Leaves out what the
 * bytes are: see capture.h.
 */
#include "rpc.h"

#define FILE_MAX 4096

typedef Pcap__V1__ImportRequest Request;

struct import {
	struct call *call;
	Request *current; /* NULL: the call's first message */
	const uint8_t *data;
	size_t left;
	bool ended;
};

/* On the completion-queue thread. */
void import_more(struct call *c, ProtobufCMessage *m)
{
	pthread_mutex_lock(&c->lock);
	c->incoming = m;
	c->incoming_end = !m;
	pthread_cond_broadcast(&c->news);
	pthread_mutex_unlock(&c->lock);
}

/* Asked for only when the last one is used: flow control does the rest. */
static bool next_message(struct import *im, struct err *e)
{
	struct call *c = im->call;

	if (im->current)
		protobuf_c_message_free_unpacked(&im->current->base, NULL);
	im->current = NULL;
	call_receive(c);
	pthread_mutex_lock(&c->lock);
	while (!c->incoming && !c->incoming_end && !c->over && !c->finishing &&
	       !call_is_stopping(c))
		pthread_cond_wait(&c->news, &c->lock);
	im->current = (Request *)c->incoming;
	c->incoming = NULL;
	im->ended = c->incoming_end;
	pthread_mutex_unlock(&c->lock);
	if (im->current) {
		im->data = im->current->data.data;
		im->left = im->current->data.len;
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
	struct import *im = ctx;

	while (im->left == 0 && !im->ended)
		if (!next_message(im, e))
			return -1;
	if (n > im->left)
		n = im->left;
	if (n)
		memcpy(to, im->data, n);
	im->data += n;
	im->left -= n;
	return (int64_t)n;
}

static bool check_request(struct call *c, const Request *r, struct err *e)
{
	char people[PEOPLE_MAX + 1];
	size_t n = strlen(r->file);
	struct err ignored;

	if (!*r->alias)
		return err_set(e, ERR_USAGE,
			       "expected an alias to import into, got nothing");
	if (control_people(c->server->control, r->alias, people, &ignored) &&
	    !caller_sees(c->caller, people))
		return err_set(e, ERR_EXISTS,
			       "alias '%.80s' is taken by a capture of others",
			       r->alias);
	return n <= FILE_MAX || err_set(e, ERR_USAGE,
					"expected a file name of at most %d "
					"bytes, got %zu",
					FILE_MAX, n);
}

static void answer(struct call *c, struct capture_view *v,
		   Pcap__V1__ImportResponse *a)
{
	Pcap__V1__Capture capture;

	wire_capture(&capture, v);
	a->capture = &capture;
	call_answer(c, &a->base);
	capture_view_done(v);
}

void run_import(struct call *c)
{
	const Request *r = (const void *)c->request;
	struct import im = {
		.call = c,
		.data = r->data.data,
		.left = r->data.len,
	};
	Pcap__V1__ImportResponse a = PCAP__V1__IMPORT_RESPONSE__INIT;
	struct capture_view v;
	bool created = false;
	struct err e = ERR_INIT;

	bool ok =
		check_request(c, r, &e) &&
		control_import(c->server->control, r->alias,
			       *r->file ? r->file : "savefile", read_upload,
			       &im, &v, &created, &a.packets, &a.raw_bytes, &e);
	a.created = created;
	text_clean(e.what);
	if (!ok && e.kind == ERR_INCOMPLETE)
		a.incomplete = e.what;
	if (ok || e.kind == ERR_INCOMPLETE)
		answer(c, &v, &a);
	else
		call_fail(c, &e);
	if (im.current)
		protobuf_c_message_free_unpacked(&im.current->base, NULL);
}
