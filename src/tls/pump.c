/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The pump: one loop over two sockets, a buffer each way. Guarantees that what
 * was written before the end leaves, if the other side takes it in time.
 */
#include "tls/pump.h"

#define ERR_STATE openssl_err_state /* the name is taken */
#include <openssl/err.h>
#include <openssl/ssl.h>
#undef ERR_STATE

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>

#define PUMP_BYTES (128u << 10)
#define PAIR_BYTES (1 << 20)
/* How long a slow machine may take what was written before the end. */
#define LINGER_MS 5000

/* Bytes on their way from one side to the other. */
struct tls_lane {
	uint8_t *bytes;
	size_t from, to;
	bool ended; /* no more will come */
};

struct tls_pump {
	SSL *ssl; /* NULL: the socket as it is */
	int fd;
	struct tls_watch *watch;
	int plain;
	struct tls_lane in, out; /* from and to the other side of the link */
	short link_wants;	 /* by poll, before anything more can be done */
	bool unflushed;
	bool broken;
};

static bool lane_empty(const struct tls_lane *l)
{
	return l->from == l->to;
}

/* Both directions may wait for the same thing. */
static bool ssl_waits(struct tls_pump *p, int done)
{
	switch (SSL_get_error(p->ssl, done)) {
	case SSL_ERROR_WANT_READ:
		p->link_wants |= POLLIN;
		return true;
	case SSL_ERROR_WANT_WRITE:
		p->link_wants |= POLLOUT;
		return true;
	}
	return false;
}

/* These say whether anything moved. */

static bool socket_to_lane(struct tls_pump *p)
{
	struct tls_lane *l = &p->in;
	ssize_t n = recv(p->fd, l->bytes, PUMP_BYTES, MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
		p->link_wants |= POLLIN;
		return false;
	}
	l->to = n > 0 ? (size_t)n : 0;
	l->ended = n <= 0;
	return true;
}

static bool tls_to_lane(struct tls_pump *p)
{
	struct tls_lane *l = &p->in;
	bool moved = false;
	size_t n;

	while (l->to < PUMP_BYTES) {
		ERR_clear_error();
		int done = SSL_read_ex(p->ssl, l->bytes + l->to,
				       PUMP_BYTES - l->to, &n);
		if (done != 1) {
			l->ended = !ssl_waits(p, done);
			return moved || l->ended;
		}
		l->to += n;
		moved = true;
	}
	return moved;
}

static bool link_to_lane(struct tls_pump *p)
{
	struct tls_lane *l = &p->in;

	if (l->ended || !lane_empty(l))
		return false;
	l->from = l->to = 0;
	bool moved = p->ssl ? tls_to_lane(p) : socket_to_lane(p);
	if (!lane_empty(l) && p->watch &&
	    !p->watch->came(p->watch, l->bytes, l->to))
		p->broken = true;
	return moved;
}

static bool lane_to_plain(struct tls_pump *p)
{
	struct tls_lane *l = &p->in;

	if (lane_empty(l) || p->broken)
		return false;
	ssize_t n = send(p->plain, l->bytes + l->from, l->to - l->from,
			 MSG_NOSIGNAL | MSG_DONTWAIT);
	if (n > 0)
		l->from += (size_t)n;
	else if (n < 0 && errno != EAGAIN && errno != EINTR)
		p->broken = true;
	return n > 0;
}

static bool plain_to_lane(struct tls_pump *p)
{
	struct tls_lane *l = &p->out;

	if (l->ended || !lane_empty(l))
		return false;
	ssize_t n = recv(p->plain, l->bytes, PUMP_BYTES, MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	l->from = 0;
	l->to = n > 0 ? (size_t)n : 0;
	l->ended = n <= 0;
	if (n > 0 && p->watch)
		p->watch->left(p->watch, (size_t)n);
	return true;
}

static bool tls_flush(struct tls_pump *p)
{
	BIO *out = SSL_get_wbio(p->ssl);

	if (BIO_flush(out) == 1)
		p->unflushed = false;
	else if (BIO_should_retry(out))
		p->link_wants |= POLLOUT;
	else
		p->broken = true;
	return !p->unflushed;
}

static bool lane_to_socket(struct tls_pump *p)
{
	struct tls_lane *l = &p->out;

	if (lane_empty(l))
		return false;
	ssize_t n = send(p->fd, l->bytes + l->from, l->to - l->from,
			 MSG_NOSIGNAL | MSG_DONTWAIT);
	if (n > 0)
		l->from += (size_t)n;
	else if (n < 0 && errno == EAGAIN)
		p->link_wants |= POLLOUT;
	else if (n < 0 && errno != EINTR)
		p->broken = true;
	return n > 0;
}

static bool lane_to_tls(struct tls_pump *p)
{
	struct tls_lane *l = &p->out;
	bool moved = false;
	size_t n;

	while (!lane_empty(l)) {
		ERR_clear_error();
		int done = SSL_write_ex(p->ssl, l->bytes + l->from,
					l->to - l->from, &n);
		if (done != 1) {
			p->broken = p->broken || !ssl_waits(p, done);
			return moved;
		}
		l->from += n;
		p->unflushed = true;
		moved = true;
	}
	return (p->unflushed && tls_flush(p)) || moved;
}

/* Nothing moves: until something can. A side of which nothing is wanted is
 * not looked at, as one that hung up would never let poll wait. */
static void pump_wait(struct tls_pump *p)
{
	struct pollfd fds[] = {{.fd = p->fd, .events = p->link_wants},
			       {.fd = p->plain}};

	if (!lane_empty(&p->in))
		fds[1].events |= POLLOUT;
	if (lane_empty(&p->out) && !p->out.ended)
		fds[1].events |= POLLIN;
	for (int i = 0; i < 2; i++)
		if (!fds[i].events)
			fds[i].fd = -1;
	int wait_ms = p->watch ? p->watch->wait_ms : -1;
	int n = poll(fds, 2, p->out.ended ? LINGER_MS : wait_ms);
	if (n == 0 && !p->out.ended)
		p->broken = !p->watch->came(p->watch, NULL, 0);
	else if (n == 0 || (n < 0 && errno != EINTR))
		p->broken = true;
}

static bool pump_goes_on(const struct tls_pump *p)
{
	if (p->broken)
		return false;
	if (p->out.ended && lane_empty(&p->out) && !p->unflushed)
		return false;
	return !p->in.ended || !lane_empty(&p->in);
}

bool tls_pair(int fds[2], struct err *e)
{
	int bytes = PAIR_BYTES;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0,
		       fds) < 0)
		return err_errno(e, "make a pair of sockets");
	for (int i = 0; i < 2; i++)
		setsockopt(fds[i], SOL_SOCKET, SO_SNDBUF, &bytes,
			   sizeof(bytes));
	return true;
}

static void pump_end(struct tls_pump *p)
{
	if (!p->ssl)
		shutdown(p->fd, SHUT_RDWR);
	else if (!p->broken && SSL_shutdown(p->ssl) >= 0)
		BIO_flush(SSL_get_wbio(p->ssl));
	ERR_clear_error();
}

void tls_pump(struct tls_link *l, int plain, struct tls_watch *w)
{
	struct tls_pump p = {.ssl = tls_link_ssl(l),
			     .fd = tls_link_fd(l),
			     .plain = plain,
			     .watch = w};

	p.in.bytes = malloc(PUMP_BYTES);
	p.out.bytes = malloc(PUMP_BYTES);
	while (p.in.bytes && p.out.bytes && pump_goes_on(&p)) {
		p.link_wants = 0;
		bool moved = link_to_lane(&p);
		moved |= lane_to_plain(&p);
		moved |= plain_to_lane(&p);
		moved |= p.ssl ? lane_to_tls(&p) : lane_to_socket(&p);
		if (!moved && !p.broken)
			pump_wait(&p);
	}
	pump_end(&p);
	free(p.in.bytes);
	free(p.out.bytes);
}
