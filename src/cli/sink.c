/*
 * The writing thread. Guarantees that what was put is written in order and
 * whole, or that error says why not. Leaves out what the bytes mean.
 */
#include "sink.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <string.h>
#include <time.h>

/* How long the connection may be left alone. */
#define TEND_MS 100

/* All of the pieces, which are changed. 0 or an errno. */
static int write_pieces(int fd, struct iovec *v, size_t n)
{
	while (n) {
		ssize_t wrote = writev(fd, v, n < IOV_MAX ? (int)n : IOV_MAX);
		if (wrote < 0 && errno == EINTR)
			continue;
		if (wrote < 0 && errno == EAGAIN) {
			/* Whoever gave us the file made it so. */
			struct pollfd p = {.fd = fd, .events = POLLOUT};
			poll(&p, 1, -1);
			continue;
		}
		if (wrote < 0)
			return errno;
		size_t left = (size_t)wrote;
		while (n && left >= v->iov_len) {
			left -= v->iov_len;
			v++;
			n--;
		}
		if (n) {
			v->iov_base = (char *)v->iov_base + left;
			v->iov_len -= left;
		}
	}
	return 0;
}

static int write_event(int fd, struct client_event *ev)
{
	if (!ev->message)
		return write_pieces(fd, ev->pieces, ev->n_pieces);
	ProtobufCBinaryData *head = &ev->message->header->savefile_header;
	struct iovec v = {head->data, head->len};
	return write_pieces(fd, &v, 1);
}

/* The lock is held. */
static struct client_event *pop(struct sink *s)
{
	struct client_event *ev = s->ring[s->head];

	s->head = (s->head + 1) % SINK_EVENTS;
	s->count--;
	pthread_cond_signal(&s->room);
	return ev;
}

static void *write_all(void *arg)
{
	struct sink *s = arg;
	int error = 0;

	pthread_mutex_lock(&s->lock);
	for (;;) {
		while (!s->count && !s->closed)
			pthread_cond_wait(&s->work, &s->lock);
		if (!s->count)
			break;
		struct client_event *ev = pop(s);
		pthread_mutex_unlock(&s->lock);

		uint64_t packets = ev->count, bytes = ev->bytes;
		bool failed = error != 0;
		if (!failed)
			error = write_event(s->fd, ev);
		client_event_free(ev);
		if (error && !failed)
			client_cancel(s->client);

		pthread_mutex_lock(&s->lock);
		s->error = error;
		if (!error) {
			s->packets += packets;
			s->bytes += bytes;
		}
	}
	pthread_mutex_unlock(&s->lock);
	return NULL;
}

bool sink_start(struct sink *s, int fd, struct client *c, struct err *e)
{
	pthread_condattr_t monotonic;

	*s = (struct sink){.fd = fd, .client = c};
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->work, NULL);
	pthread_cond_init(&s->room, &monotonic);
	pthread_condattr_destroy(&monotonic);
	errno = pthread_create(&s->thread, NULL, write_all, s);
	if (errno)
		return err_errno(e, "make a thread");
	s->running = true;
	return true;
}

/* The lock is held, and released while it waits. */
static void wait_for_room(struct sink *s)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += TEND_MS * 1000000l;
	if (until.tv_nsec >= 1000000000l) {
		until.tv_sec++;
		until.tv_nsec -= 1000000000l;
	}
	if (pthread_cond_timedwait(&s->room, &s->lock, &until) == ETIMEDOUT) {
		pthread_mutex_unlock(&s->lock);
		client_tend(s->client);
		pthread_mutex_lock(&s->lock);
	}
}

void sink_put(struct sink *s, struct client_event *ev)
{
	pthread_mutex_lock(&s->lock);
	while (s->count == SINK_EVENTS)
		wait_for_room(s);
	s->ring[(s->head + s->count++) % SINK_EVENTS] = ev;
	pthread_cond_signal(&s->work);
	pthread_mutex_unlock(&s->lock);
}

void sink_stop(struct sink *s)
{
	if (!s->running)
		return;
	pthread_mutex_lock(&s->lock);
	s->closed = true;
	pthread_cond_signal(&s->work);
	pthread_mutex_unlock(&s->lock);
	pthread_join(s->thread, NULL);
	s->running = false;
	pthread_mutex_destroy(&s->lock);
	pthread_cond_destroy(&s->work);
	pthread_cond_destroy(&s->room);
}
