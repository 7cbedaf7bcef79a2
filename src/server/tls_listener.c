/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * TCP and TLS. Guarantees that nobody's bytes reach gRPC before the
 * certificate was checked against the CA and the allow-list, that handshakes
 * which do not end are bounded in time and number, and that files which change
 * are seen within a second. A thread a connection shakes hands and then
 * carries bytes. Leaves out what peers may do: peer.c.
 */
#include "server/tls_listener.h"

#include "base/log.h"
#include "server/server_internal.h"
#include "tls/pump.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define KEEPALIVE_S 30

/* --- files --- */

static bool context_load(struct tls_listener *r, struct err *e)
{
	char path[3][CONFIG_PATH_MAX + 16];

	for (int i = 0; i < 3; i++)
		config_tls_path(&r->config, (enum tls_file)i, path[i]);
	struct tls_files f = {path[TLS_CERT], path[TLS_KEY], path[TLS_CA]};
	struct tls_cert own;
	struct ssl_ctx_st *fresh = tls_server_new(&f, e);
	if (!fresh)
		return false;
	if (tls_cert_file(&own, f.cert, e) &&
	    own.until_s < realtime_ns() / NS_PER_S) {
		char text[TLS_TIME_TEXT];
		log_warn("%s expired on %s; clients will not connect", f.cert,
			 tls_time_text(own.until_s, text));
	}
	pthread_mutex_lock(&r->lock);
	struct ssl_ctx_st *old = r->context;
	r->context = fresh;
	pthread_mutex_unlock(&r->lock);
	tls_context_free(old);
	return true;
}

static void files_look(struct tls_listener *r, int64_t changed_ns[3])
{
	char path[CONFIG_PATH_MAX + 16];
	struct stat st;

	for (int i = 0; i < 3; i++) {
		config_tls_path(&r->config, (enum tls_file)i, path);
		changed_ns[i] = 0;
		if (stat(path, &st) == 0)
			changed_ns[i] = st.st_mtim.tv_sec * NS_PER_S +
					st.st_mtim.tv_nsec;
	}
}

void tls_listener_look(struct server *s)
{
	struct tls_listener *r = &s->tls_listener;
	struct err e = ERR_INIT;
	int64_t changed_ns[3];

	files_look(r, changed_ns);
	bool changed = memcmp(changed_ns, r->files_ns, sizeof(changed_ns)) != 0;
	if (changed || r->files_failed) {
		memcpy(r->files_ns, changed_ns, sizeof(changed_ns));
		r->files_failed = !context_load(r, &e);
		if (!r->files_failed) {
			log_info("read the TLS certificate again");
		} else if (changed) {
			err_wrap(&e, "the old certificate stays");
			log_err(LOG_LEVEL_WARN, &e);
		}
	}
	allow_refresh(r->allow);
	peers_review(s);
}

/* --- listening --- */

static bool tls_listener_listen_on(struct tls_listener *r,
				   const struct addrinfo *a, struct err *e)
{
	int on = 1, off = 0;
	int fd = socket(a->ai_family,
			SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return err_errno(e, "make a socket");
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	/* [::] is for IPv4, too. */
	if (a->ai_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
	if (bind(fd, a->ai_addr, a->ai_addrlen) == 0 &&
	    listen(fd, SOMAXCONN) == 0) {
		r->fds[r->n_fds++] = fd;
		return true;
	}
	err_errno(e, "listen for TLS");
	close(fd);
	return false;
}

/* "2020", "host", "host:2020", "[::1]:2020" */
static bool address_split(char *text, char **host, char **port, struct err *e)
{
	char *colon = strrchr(text, ':');

	*host = text;
	*port = (char *)TLS_PORT;
	if (*text == '[') {
		char *end = strchr(text, ']');
		if (!end || (end[1] && end[1] != ':'))
			return err_set(e, ERR_USAGE,
				       "expected [ADDRESS]:PORT, got '%.80s'",
				       text);
		*end = '\0';
		*host = text + 1;
		if (end[1])
			*port = end + 2;
	} else if (colon && colon == strchr(text, ':')) {
		*colon = '\0';
		*port = colon + 1;
	} else if (strspn(text, "0123456789") == strlen(text)) {
		*host = NULL;
		*port = text;
	}
	if (*host && !**host)
		*host = NULL;
	return true;
}

static bool listen_at(struct tls_listener *r, const char *given, struct err *e)
{
	struct addrinfo want = {.ai_family = AF_UNSPEC,
				.ai_socktype = SOCK_STREAM,
				.ai_flags = AI_PASSIVE | AI_NUMERICSERV};
	struct addrinfo *found = NULL;
	char text[CONFIG_PATH_MAX], *host, *port;

	snprintf(text, sizeof(text), "%s", given);
	if (!address_split(text, &host, &port, e))
		return false;
	int no = getaddrinfo(host ? host : "::", port, &want, &found);
	/* A kernel without IPv6. */
	if (no && !host)
		no = getaddrinfo("0.0.0.0", port, &want, &found);
	if (no)
		return err_set(e, ERR_USAGE, "listen: '%.80s': %s", given,
			       gai_strerror(no));
	bool ok = false;
	for (struct addrinfo *a = found; a && r->n_fds < LISTEN_MAX;
	     a = a->ai_next)
		ok |= tls_listener_listen_on(r, a, e);
	freeaddrinfo(found);
	if (!ok && !host && r->n_fds < LISTEN_MAX) {
		want.ai_family = AF_INET;
		if (getaddrinfo("0.0.0.0", port, &want, &found) == 0) {
			ok = tls_listener_listen_on(r, found, e);
			freeaddrinfo(found);
		}
	}
	return ok || err_wrap(e, "listen = %.80s", given);
}

bool tls_listener_open(struct server *s, const struct config *c, struct err *e)
{
	struct tls_listener *r = &s->tls_listener;
	char path[CONFIG_PATH_MAX + 16], text[CONFIG_PATH_MAX], *rest = NULL;

	r->config = *c;
	if (!*c->listen)
		return true;
	files_look(r, r->files_ns);
	if (!context_load(r, e)) {
		if (!e->hint[0])
			err_hint(e, "'pcapd tls init' makes what TLS needs; "
				    "without 'listen' it is not used.");
		return err_wrap(e, "TLS");
	}
	config_tls_path(c, TLS_ALLOW, path);
	r->allow = allow_open(path, e);
	if (!r->allow)
		return false;
	snprintf(text, sizeof(text), "%s", c->listen);
	for (char *one = strtok_r(text, " ,\t", &rest); one;
	     one = strtok_r(NULL, " ,\t", &rest)) {
		if (r->n_fds == LISTEN_MAX)
			return err_set(e, ERR_USAGE,
				       "listen: at most %d addresses",
				       LISTEN_MAX);
		if (!listen_at(r, one, e))
			return false;
	}
	for (unsigned i = 0; i < r->n_fds; i++)
		if (!control_listen(s->control, r->fds[i], e) ||
		    !unix_listener_watch(&s->unix_listener, &r->fds[i], e))
			return false;
	return true;
}

void tls_listener_shut(struct server *s)
{
	struct tls_listener *r = &s->tls_listener;

	control_unlisten(s->control);
	for (unsigned i = 0; i < r->n_fds; i++)
		close(r->fds[i]);
	r->n_fds = 0;
}

void tls_listener_close(struct server *s)
{
	struct tls_listener *r = &s->tls_listener;

	tls_listener_shut(s);
	tls_context_free(r->context);
	allow_close(r->allow);
	pthread_mutex_destroy(&r->lock);
}

/* --- a connection --- */

/* On any thread. */
static void tls_listener_refused(const char *from, const struct err *e)
{
	log_warn("%s was refused: %s", from, e->what);
}

static bool tls_listener_admit(void *ctx, const struct tls_cert *cert,
			       char *tls_listener_why, size_t room)
{
	struct peer *c = ctx;
	struct allow *allow = c->server->tls_listener.allow;

	allow_refresh(allow);
	c->remote.until_s = cert->until_s;
	if (allow_find(allow, cert->fingerprint, &c->remote.allowed))
		return true;
	snprintf(tls_listener_why, room,
		 "the certificate of %s is not on the allow-list: it was "
		 "revoked, or never allowed (%s)",
		 cert->name, cert->fingerprint);
	return false;
}

/* The link is the list's to cut from here on. */
static void set_link(struct peer *c, struct tls_link *l)
{
	struct server *s = c->server;

	pthread_mutex_lock(&s->lock);
	c->tls = l;
	if (l && atomic_load(&s->stopping))
		tls_cut(l);
	pthread_mutex_unlock(&s->lock);
}

static void tls_listener_serve(struct peer *c, struct tls_link *l, int fds[2])
{
	if (c->refusal.kind)
		tls_listener_refused(c->from, &c->refusal);
	else
		log_info("%s (%s) came in from %s", c->remote.allowed.name,
			 role_text(c->remote.allowed.role), c->from);
	if (!c->refusal.kind)
		control_known(c->server->control, c->excluded);
	/* gRPC's, beside this thread's. */
	atomic_fetch_add(&c->refs, 1);
	peer_serve(c, fds[0]);
	if (atomic_load(&c->server->stopping))
		peer_end(c);
	peer_carry(c, l, fds[1]);
	close(fds[1]);
	peer_end(c);
}

/* What its end looked like to OpenSSL is not what it was. */
static const struct err *tls_listener_why(struct peer *c, struct err *e)
{
	pthread_mutex_lock(&c->server->lock);
	bool was_cut = c->phase == PEER_EVICTED;
	pthread_mutex_unlock(&c->server->lock);
	if (was_cut)
		err_set(e, ERR_LIMIT, "max-handshakes is %u, others came",
			(unsigned)
				c->server->tls_listener.config.max_handshakes);
	return e;
}

struct tls_connection {
	struct peer *peer;
	int fd;
};

static void *tls_listener_main(void *arg)
{
	struct tls_connection *a = arg;
	struct peer *c = a->peer;
	struct tls_listener *r = &c->server->tls_listener;
	struct err e = ERR_INIT;
	int fds[2];

	pthread_setname_np(pthread_self(), "pcapd-tls");
	pthread_mutex_lock(&r->lock);
	struct tls_link *l =
		tls_link_server(r->context, a->fd, tls_listener_admit, c, &e);
	pthread_mutex_unlock(&r->lock);
	free(a);
	if (l)
		set_link(c, l);
	if (l &&
	    tls_shake_hands(l, (int)r->config.handshake_timeout_s * 1000, &e) &&
	    (peer_count(c, &e) || (c->place == PLACE_REFUSED && c->person)) &&
	    tls_pair(fds, &e))
		tls_listener_serve(c, l, fds);
	else
		tls_listener_refused(c->from, tls_listener_why(c, &e));
	set_link(c, NULL);
	tls_link_free(l);
	peer_unref(c);
	return NULL;
}

/* Somebody who only opens connections keeps nobody out: the oldest handshake
 * goes. Threads may not end as fast as connections come: those wait then. */
static void tls_listener_make_room(struct server *s)
{
	unsigned most = (unsigned)s->tls_listener.config.max_handshakes, n = 0;
	struct peer *c, *oldest = NULL;
	int64_t until = monotonic_ns() + NS_PER_S;
	bool late = false;

	pthread_mutex_lock(&s->lock);
	LIST_FOREACH(c, &s->peers, entry) {
		if (c->phase != PEER_HANDSHAKE)
			continue;
		n++;
		if (c->tls && (!oldest || c->since_ns < oldest->since_ns))
			oldest = c;
	}
	if (n >= most && oldest) {
		oldest->phase = PEER_EVICTED;
		tls_cut(oldest->tls);
	}
	while (s->n_places[PLACE_ARRIVING] >= 2 * most && !late)
		late = !cond_wait_until(&s->changed, &s->lock, until);
	pthread_mutex_unlock(&s->lock);
}

static void address_text(const struct sockaddr_storage *a, char *out,
			 size_t room)
{
	char host[INET6_ADDRSTRLEN] = "?";
	const struct sockaddr_in6 *six = (const void *)a;
	const struct sockaddr_in *four = (const void *)a;

	if (a->ss_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&six->sin6_addr)) {
		inet_ntop(AF_INET, &six->sin6_addr.s6_addr[12], host,
			  sizeof(host));
		snprintf(out, room, "%s:%u", host, ntohs(six->sin6_port));
	} else if (a->ss_family == AF_INET6) {
		inet_ntop(AF_INET6, &six->sin6_addr, host, sizeof(host));
		snprintf(out, room, "[%s]:%u", host, ntohs(six->sin6_port));
	} else {
		inet_ntop(AF_INET, &four->sin_addr, host, sizeof(host));
		snprintf(out, room, "%s:%u", host, ntohs(four->sin_port));
	}
}

static void tls_listener_set_options(int fd)
{
	int on = 1, idle = KEEPALIVE_S, times = 3;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &idle, sizeof(idle));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &times, sizeof(times));
}

void tls_listener_accept(struct server *s, int listen_fd)
{
	struct sockaddr_storage from;
	struct err e = ERR_INIT;
	uint64_t excluded;
	char text[64];

	int fd = -1;
	if (unix_listener_has_descriptors(&s->unix_listener))
		fd = control_accept(s->control, listen_fd, &from, &excluded);
	if (fd < 0) {
		unix_listener_back_off(&s->unix_listener);
		return;
	}
	address_text(&from, text, sizeof(text));
	tls_listener_make_room(s);
	struct peer *c = peer_new(s, FROM_TLS, &e);
	if (c)
		c->excluded = excluded;
	else
		control_include(s->control, excluded);
	struct tls_connection *a = c ? malloc(sizeof(*a)) : NULL;
	if (a) {
		tls_listener_set_options(fd);
		memcpy(c->from, text, sizeof(text));
		*a = (struct tls_connection){c, fd};
		pthread_mutex_lock(&s->lock);
		c->phase = PEER_HANDSHAKE;
		c->since_ns = monotonic_ns();
		pthread_mutex_unlock(&s->lock);
		if (server_thread(tls_listener_main, a, CARRY_STACK_BYTES))
			return;
		err_errno(&e, "make a thread");
	}
	tls_listener_refused(text, &e);
	free(a);
	if (c)
		peer_unref(c);
	close(fd);
}
