/*
 * How a pcapd is reached. Guarantees that a connection which is given out was
 * taken by the other side, so that what is wrong with it is told here, in
 * words. TLS has a thread that carries bytes; ssh is a program of the user's.
 * Leaves out what is said over the connection.
 */
#include "client_link.h"

#include "../tls.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define PATIENCE_MS 10000
#define PAIR_BYTES (1 << 20)

struct client_link {
	struct tls_link *tls; /* NULL: there is no thread */
	int plain;	      /* our end of a pair, or -1 */
	pthread_t thread;
};

/* --- the socket --- */

static bool refuse_path(const char *path, struct err *e)
{
	struct stat st;
	int no = errno;

	if (no == EACCES || no == EPERM) {
		err_set(e, ERR_PERMISSION, "may not connect to pcapd at %s: %s",
			path, strerror(no));
		struct group *g =
			stat(path, &st) == 0 ? getgrgid(st.st_gid) : NULL;
		if (g && !(st.st_mode & S_IWOTH) && (st.st_mode & S_IWGRP))
			return err_hint(e,
					"Members of the group '%s' may; an "
					"administrator adds you to it.",
					g->gr_name);
		return err_hint(e, "Ask for the rights to that socket, or name "
				   "another with --socket.");
	}
	err_set(e, ERR_UNREACHABLE, "cannot reach pcapd at %s: %s", path,
		no == ENOENT	     ? "no such file"
		: no == ECONNREFUSED ? "nobody listens there"
				     : strerror(no));
	return err_hint(e, "Is it running ('systemctl start pcapd')? Another "
			   "socket is named with --socket or PCAP_SOCKET.");
}

static int connect_path(const char *path, struct err *e)
{
	struct sockaddr_un to = {.sun_family = AF_UNIX};

	if (strlen(path) >= sizeof(to.sun_path)) {
		err_set(e, ERR_USAGE,
			"a socket's path has at most %zu bytes: %s",
			sizeof(to.sun_path) - 1, path);
		return -1;
	}
	strcpy(to.sun_path, path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0) {
		err_errno(e, "make a socket");
		return -1;
	}
	/* Blocking until here: a daemon whose backlog is full is waited for. */
	if (connect(fd, (struct sockaddr *)&to, sizeof(to)) != 0) {
		refuse_path(path, e);
		close(fd);
		return -1;
	}
	fcntl(fd, F_SETFL, O_NONBLOCK);
	return fd;
}

/* --- TLS --- */

static int connect_one(const struct addrinfo *a)
{
	int on = 1, no = 0;
	socklen_t n = sizeof(no);
	int fd = socket(a->ai_family,
			SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return -1;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	if (connect(fd, a->ai_addr, a->ai_addrlen) == 0)
		return fd;
	struct pollfd p = {.fd = fd, .events = POLLOUT};
	if (errno != EINPROGRESS)
		no = errno;
	else if (poll(&p, 1, PATIENCE_MS) <= 0)
		no = ETIMEDOUT;
	else
		getsockopt(fd, SOL_SOCKET, SO_ERROR, &no, &n);
	if (!no)
		return fd;
	close(fd);
	errno = no;
	return -1;
}

static int connect_tcp(const struct address *to, struct err *e)
{
	struct addrinfo want = {.ai_family = AF_UNSPEC,
				.ai_socktype = SOCK_STREAM};
	struct addrinfo *found = NULL;
	int fd = -1, no = getaddrinfo(to->host, to->port, &want, &found);

	if (no) {
		err_set(e, ERR_UNREACHABLE, "cannot find %s: %s", to->host,
			no == EAI_SYSTEM ? strerror(errno) : gai_strerror(no));
		return -1;
	}
	for (struct addrinfo *a = found; a && fd < 0; a = a->ai_next)
		fd = connect_one(a);
	no = errno;
	freeaddrinfo(found);
	if (fd >= 0)
		return fd;
	err_set(e, ERR_UNREACHABLE, "cannot reach pcapd at %s port %s: %s",
		to->host, to->port, strerror(no));
	err_hint(e, "Does it listen there ('listen' in its pcapd.conf)?");
	return -1;
}

/* What the server would say in fewer words. */
static bool own_is_valid(const struct address *to, const struct tls_cert *own,
			 struct err *e)
{
	int64_t now = time(NULL);
	char text[TLS_TIME_TEXT];

	if (own->until_s < now)
		err_set(e, ERR_PERMISSION, "certificate expired on %s (%s)",
			tls_time_text(own->until_s, text), to->cert);
	else if (own->from_s > now)
		err_set(e, ERR_PERMISSION,
			"certificate is not valid before %s (%s)",
			tls_time_text(own->from_s, text), to->cert);
	else
		return true;
	return err_hint(e, "'pcapd tls issue' on the server makes a new one.");
}

static struct tls_link *connect_tls(const struct address *to, struct err *e)
{
	struct tls_files f = {to->cert, to->key, to->ca};
	struct tls_cert own;
	struct ssl_ctx_st *ctx = tls_client_new(&f, &own, e);
	struct tls_link *l = NULL;

	if (!ctx)
		return NULL;
	int fd = own_is_valid(to, &own, e) ? connect_tcp(to, e) : -1;
	if (fd >= 0)
		l = tls_link_client(ctx, fd, to->host, e);
	tls_context_free(ctx);
	if (l && !tls_shake_hands(l, PATIENCE_MS, e)) {
		tls_link_free(l);
		l = NULL;
	}
	return l;
}

static void *pump_main(void *arg)
{
	struct client_link *l = arg;

	tls_pump(l->tls, l->plain);
	/* gRPC sees the end, also when it is the pump's. */
	shutdown(l->plain, SHUT_RDWR);
	return NULL;
}

static bool open_tls(struct client_link *l, const struct address *to, int *fd,
		     struct err *e)
{
	int fds[2], bytes = PAIR_BYTES;

	l->tls = connect_tls(to, e);
	if (!l->tls)
		return false;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0,
		       fds) < 0)
		return err_errno(e, "make a pair of sockets");
	for (int i = 0; i < 2; i++)
		setsockopt(fds[i], SOL_SOCKET, SO_SNDBUF, &bytes,
			   sizeof(bytes));
	l->plain = fds[1];
	errno = pthread_create(&l->thread, NULL, pump_main, l);
	if (errno) {
		close(fds[0]);
		return err_errno(e, "make a thread");
	}
	*fd = fds[0];
	return true;
}

/* --- all kinds --- */

static bool open_any(struct client_link *l, const struct address *to, int *fd,
		     struct err *e)
{
	if (to->kind == ADDRESS_TLS)
		return open_tls(l, to, fd, e);
	*fd = connect_path(to->path, e);
	return *fd >= 0;
}

struct client_link *client_link_open(const struct address *to, int *fd,
				     struct err *e)
{
	struct client_link *l = calloc(1, sizeof(*l));

	if (!l) {
		err_set(e, ERR_FAILED, "out of memory");
		return NULL;
	}
	l->plain = -1;
	if (open_any(l, to, fd, e))
		return l;
	tls_link_free(l->tls);
	if (l->plain >= 0)
		close(l->plain);
	free(l);
	return NULL;
}

void client_link_close(struct client_link *l)
{
	if (l->tls) {
		shutdown(l->plain, SHUT_RDWR);
		pthread_join(l->thread, NULL);
		tls_link_free(l->tls);
		close(l->plain);
	}
	free(l);
}
