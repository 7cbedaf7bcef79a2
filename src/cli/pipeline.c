/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The writing thread and its decoders. Guarantees that what was put is written
 * in order and whole, or that error and damaged say why not. Leaves out what
 * the bytes mean.
 */
#include "cli/pipeline.h"

#include "packet/block.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zstd.h>

/* How long the connection may be left alone. */
#define TEND_NS (NS_PER_S / 10)

/* --- decoding --- */

/* All pieces in one run, at the end of to[0, room). NULL: they do not fit. */
static const uint8_t *pipeline_gather(const struct client_event *ev,
				      uint8_t *to, size_t room)
{
	if (ev->n_pieces == 1)
		return ev->pieces[0].iov_base;
	if (ev->bytes > room)
		return NULL;
	uint8_t *at = to;
	for (size_t i = 0; i < ev->n_pieces; i++) {
		memcpy(at, ev->pieces[i].iov_base, ev->pieces[i].iov_len);
		at += ev->pieces[i].iov_len;
	}
	return to;
}

/* Into p->decoded; frame is a buffer of BLOCK_MAX bytes. */
static bool pipeline_decode(struct pipeline_place *p, ZSTD_DCtx *zstd,
			    uint8_t *frame)
{
	const struct client_event *ev = p->event;
	const uint8_t *from =
		frame ? pipeline_gather(ev, frame, BLOCK_MAX) : NULL;

	if (!p->decoded)
		p->decoded = malloc(BLOCK_MAX);
	if (!from || !zstd || !p->decoded || ev->zstd_raw_bytes > BLOCK_MAX)
		return false;
	return ZSTD_decompressDCtx(zstd, p->decoded, BLOCK_MAX, from,
				   ev->bytes) == ev->zstd_raw_bytes;
}

/* The lock is held. */
static struct pipeline_place *next_raw(struct pipeline *s)
{
	for (unsigned i = 0; i < s->count; i++) {
		struct pipeline_place *p =
			&s->ring[(s->head + i) % PIPELINE_EVENTS];

		if (p->state == PLACE_RAW)
			return p;
	}
	return NULL;
}

static void *decode_all(void *arg)
{
	struct pipeline *s = arg;
	ZSTD_DCtx *zstd = ZSTD_createDCtx();
	uint8_t *frame = malloc(BLOCK_MAX);
	struct pipeline_place *p;

	pthread_mutex_lock(&s->lock);
	for (;;) {
		while (!(p = next_raw(s)) && !s->closed)
			pthread_cond_wait(&s->raw, &s->lock);
		if (!p)
			break;
		p->state = PLACE_DECODING;
		p->decoded = s->n_spare ? s->spare[--s->n_spare] : NULL;
		pthread_mutex_unlock(&s->lock);
		bool ok = pipeline_decode(p, zstd, frame);
		pthread_mutex_lock(&s->lock);
		p->damaged = !ok;
		p->state = PLACE_READY;
		if (p == &s->ring[s->head])
			pthread_cond_signal(&s->ready);
	}
	pthread_mutex_unlock(&s->lock);
	ZSTD_freeDCtx(zstd);
	free(frame);
	return NULL;
}

/* --- writing --- */

static int write_place(struct savefile_writer *o, struct pipeline_place *p)
{
	struct client_event *ev = p->event;
	struct iovec v = {p->decoded, ev->zstd_raw_bytes};

	if (ev->message) {
		ProtobufCBinaryData *h = &ev->message->header->savefile_header;

		v = (struct iovec){h->data, h->len};
	} else if (!ev->zstd_raw_bytes) {
		return savefile_writer_bytes(o, ev->pieces, ev->n_pieces);
	} else if (o->packed) {
		return savefile_writer_frame(o, ev->pieces, ev->n_pieces);
	}
	return p->damaged ? 0 : savefile_writer_bytes(o, &v, 1);
}

/* The lock is held. The first place, when it may be written. */
static struct pipeline_place *first_ready(struct pipeline *s)
{
	struct pipeline_place *p = &s->ring[s->head];

	return s->count && p->state == PLACE_READY ? p : NULL;
}

/* The lock is held. */
static void count_written(struct pipeline *s, const struct pipeline_place *p)
{
	const struct client_event *ev = p->event;

	if (p->damaged) {
		s->damaged += ev->count;
		return;
	}
	s->packets += ev->count;
	s->bytes += ev->zstd_raw_bytes ? ev->zstd_raw_bytes : ev->bytes;
}

/* With the lock held, when everything that was put is written. */
static void end_writing(struct pipeline *s)
{
	if (!s->error)
		s->error = savefile_writer_end(&s->out);
}

static void *pipeline_write_all(void *arg)
{
	struct pipeline *s = arg;
	struct pipeline_place *p;

	pthread_mutex_lock(&s->lock);
	for (;;) {
		while (!(p = first_ready(s)) && !(s->closed && !s->count))
			pthread_cond_wait(&s->ready, &s->lock);
		if (!p)
			break;
		int error = s->error;
		pthread_mutex_unlock(&s->lock);

		if (!error) {
			error = write_place(&s->out, p);
			if (error)
				client_cancel(s->client);
		}

		pthread_mutex_lock(&s->lock);
		s->error = error;
		if (!error)
			count_written(s, p);
		if (p->decoded)
			s->spare[s->n_spare++] = p->decoded;
		p->decoded = NULL;
		struct client_event *done = p->event;
		s->head = (s->head + 1) % PIPELINE_EVENTS;
		s->count--;
		pthread_cond_signal(&s->room);
		pthread_mutex_unlock(&s->lock);
		client_event_free(done);
		pthread_mutex_lock(&s->lock);
	}
	end_writing(s);
	pthread_mutex_unlock(&s->lock);
	return NULL;
}

/* --- the receiving thread --- */

/* Adds a thread; counts it when it runs. */
static bool add_thread(struct pipeline *s, pthread_t *t, void *(*run)(void *),
		       struct err *e)
{
	errno = pthread_create(t, NULL, run, s);
	if (errno)
		return err_errno(e, "make a thread");
	s->n_threads++;
	return true;
}

bool pipeline_start(struct pipeline *s, int fd, bool packed, struct client *c,
		    struct err *e)
{
	long cores = sysconf(_SC_NPROCESSORS_ONLN);
	bool ok;

	*s = (struct pipeline){.client = c};
	if (!savefile_writer_init(&s->out, fd, packed))
		return err_set(e, ERR_FAILED, "out of memory");
	pthread_mutex_init(&s->lock, NULL);
	cond_init(&s->room);
	pthread_cond_init(&s->raw, NULL);
	pthread_cond_init(&s->ready, NULL);
	ok = add_thread(s, &s->writer, pipeline_write_all, e);
	for (long i = 0; ok && i < cores && i < PIPELINE_DECODERS_MAX; i++)
		ok = add_thread(s, &s->decoders[i], decode_all, e);
	return ok;
}

/* The lock is held, and released while it waits. */
static void wait_for_room(struct pipeline *s)
{
	if (!cond_wait_until(&s->room, &s->lock, monotonic_ns() + TEND_NS)) {
		pthread_mutex_unlock(&s->lock);
		client_tend(s->client);
		pthread_mutex_lock(&s->lock);
	}
}

void pipeline_put(struct pipeline *s, struct client_event *ev)
{
	bool raw = ev->zstd_raw_bytes && !s->out.packed;
	unsigned decoders = s->n_threads - 1;
	unsigned most = raw ? decoders + 2 : PIPELINE_EVENTS;

	pthread_mutex_lock(&s->lock);
	while (s->count >= most)
		wait_for_room(s);
	struct pipeline_place *p =
		&s->ring[(s->head + s->count++) % PIPELINE_EVENTS];
	p->event = ev;
	p->damaged = false;
	p->state = raw ? PLACE_RAW : PLACE_READY;
	pthread_cond_signal(raw ? &s->raw : &s->ready);
	pthread_mutex_unlock(&s->lock);
}

void pipeline_stop(struct pipeline *s)
{
	if (!s->n_threads)
		return;
	pthread_mutex_lock(&s->lock);
	s->closed = true;
	pthread_cond_broadcast(&s->raw);
	pthread_cond_broadcast(&s->ready);
	pthread_mutex_unlock(&s->lock);
	/* The writer ends when the ring is empty, so the decoders first. */
	for (unsigned i = 0; i + 1 < s->n_threads; i++)
		pthread_join(s->decoders[i], NULL);
	pthread_join(s->writer, NULL);
	s->n_threads = 0;
	savefile_writer_done(&s->out);
	while (s->n_spare)
		free(s->spare[--s->n_spare]);
	pthread_mutex_destroy(&s->lock);
	pthread_cond_destroy(&s->room);
	pthread_cond_destroy(&s->raw);
	pthread_cond_destroy(&s->ready);
}
