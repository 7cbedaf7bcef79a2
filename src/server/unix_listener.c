/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The UNIX socket. Guarantees that one daemon at a time has the path, that
 * nothing but a stale socket is ever removed, that nobody connects before
 * group and mode are set, and that running out of descriptors is a pause.
 * gRPC could listen by itself, but takes a path over from a living daemon,
 * sets no mode and stays deaf after EMFILE. Who can open the socket is an
 * operator, unless there are groups for both roles: then anybody can open it,
 * and the kernel's word on user and groups decides. Leaves out TCP:
 * tls_listener.c.
 */
#include "server/unix_listener.h"

#include "base/log.h"
#include "server/audit.h"
#include "server/call.h"
#include "server/proxy_protocol.h"
#include "server/refusal.h"
#include "server/server_internal.h"
#include "tls/pump.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <malloc.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define BACK_OFF_MS 100
/* How often files are looked at that say who may come in. */
#define LOOK_MS 250
/* How often calls are looked at that may hang. */
#define REVIEW_MS 1000
/* How often it is said that connections wait. */
#define WAIT_SAY_NS (10 * NS_PER_S)
/* Of a connection: a replay's messages, which are as large as blocks, leave in
 * few system calls. The kernel may give less (net.core.wmem_max). */
#define SEND_BYTES (1 << 20)
#define DEFAULT_GROUP "pcap"

/* A connection to the socket. gRPC gets it with its first bytes, as these may
 * be a line that is not for it. */
struct connection {
	LIST_ENTRY(connection) entry;
	int fd;	       /* a dup, to see it end and to cut it off */
	int silent_fd; /* gRPC's; -1 when that has it */
	bool data;     /* it is a data connection: gRPC never has it */
	struct refusal *refusal; /* it is refused: nor does it have this one */
	int64_t since_ns;
	struct peer *peer; /* a reference; NULL: the listener is shut */
};

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static bool take_lock(struct unix_listener *g, struct err *e)
{
	char path[CONFIG_PATH_MAX + 8];

	snprintf(path, sizeof(path), "%s.lock", g->path);
	g->lock_fd =
		open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (g->lock_fd < 0) {
		err_errno(e, "open %s", path);
		return err_hint(e, "The socket's folder must be there and "
				   "writable; --socket picks another.");
	}
	if (flock(g->lock_fd, LOCK_EX | LOCK_NB) == 0)
		return true;
	if (errno != EWOULDBLOCK)
		return err_errno(e, "lock %s", path);
	err_set(e, ERR_STATE, "another pcapd serves %s", g->path);
	return err_hint(e, "Stop it first, or pick another --socket.");
}

static void unix_listener_address(const struct unix_listener *g,
				  struct sockaddr_un *a)
{
	*a = (struct sockaddr_un){.sun_family = AF_UNIX};
	/* unix_listener_open has seen that it fits. */
	memcpy(a->sun_path, g->path, strlen(g->path) + 1);
}

/* The lock is ours: a socket that is there was left behind, or belongs to
 * somebody who knows nothing of the lock. */
static bool clear_path(struct unix_listener *g, struct err *e)
{
	struct sockaddr_un a;
	struct stat st;

	if (lstat(g->path, &st) < 0)
		return errno == ENOENT || err_errno(e, "look at %s", g->path);
	if (!S_ISSOCK(st.st_mode))
		return err_set(e, ERR_STATE, "%s is there and is no socket",
			       g->path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return err_errno(e, "make a socket");
	unix_listener_address(g, &a);
	int no = connect(fd, (struct sockaddr *)&a, sizeof(a)) ? errno : 0;
	close(fd);
	errno = no;
	if (no == EACCES || no == EPERM)
		return err_errno(e, "connect to %s", g->path);
	if (no != ECONNREFUSED)
		return err_set(e, ERR_STATE, "somebody listens on %s", g->path);
	if (unlink(g->path) < 0)
		return err_errno(e, "remove the stale socket %s", g->path);
	return true;
}

/* The default group need not be there; one that was asked for must. */
static bool give_to_group(const struct unix_listener *g, const char *name,
			  struct err *e)
{
	bool asked_for = strcmp(name, DEFAULT_GROUP) != 0;
	struct group *group = *name ? getgrnam(name) : NULL;
	struct err why = ERR_INIT;

	if (!*name)
		return true;
	if (!group)
		err_set(&why, ERR_USAGE, "there is no group %s", name);
	else if (chown(g->path, (uid_t)-1, group->gr_gid) < 0)
		err_errno(&why, "give %s to the group %s", g->path, name);
	else
		return true;
	if (asked_for) {
		*e = why;
		return false;
	}
	log_warn("%s; only %s may connect", why.what,
		 geteuid() == 0 ? "root" : "pcapd's own user");
	return true;
}

static bool group_find(const char *name, gid_t *gid, struct err *e)
{
	struct group *group = getgrnam(name);

	if (!group)
		return err_set(e, ERR_USAGE, "there is no group %s", name);
	*gid = group->gr_gid;
	return true;
}

/* Members of socket-group are operators then. Root's group stands for none:
 * root is one anyway. */
static bool find_groups(struct unix_listener *g, const struct config *c,
			struct err *e)
{
	struct err ignored;

	g->has_viewers = *c->viewer_group != 0;
	if (!g->has_viewers)
		return true;
	if (*c->socket_group &&
	    !group_find(c->socket_group, &g->operators, &ignored))
		g->operators = 0;
	return group_find(c->viewer_group, &g->viewers, e);
}

static bool unix_listener_listen_on(struct unix_listener *g, const char *group,
				    struct err *e)
{
	struct sockaddr_un a;

	unix_listener_address(g, &a);
	g->listen_fd =
		socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (g->listen_fd < 0)
		return err_errno(e, "make a socket");
	if (bind(g->listen_fd, (struct sockaddr *)&a, sizeof(a)) < 0) {
		err_errno(e, "bind %s", g->path);
		close_fd(&g->listen_fd); /* the path is not ours to remove */
		return false;
	}
	/* Nobody can connect before listen: order is all that is needed. */
	if (!give_to_group(g, group, e))
		return false;
	if (chmod(g->path, g->has_viewers ? 0666 : 0660) < 0)
		return err_errno(e, "set the mode of %s", g->path);
	if (listen(g->listen_fd, SOMAXCONN) < 0)
		return err_errno(e, "listen on %s", g->path);
	return true;
}

bool unix_listener_watch(struct unix_listener *g, int *fd, struct err *e)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.ptr = fd};

	return epoll_ctl(g->epoll_fd, EPOLL_CTL_ADD, *fd, &ev) == 0 ||
	       err_errno(e, "wait on a socket");
}

bool unix_listener_open(struct unix_listener *g, const struct config *c,
			struct err *e)
{
	size_t most = sizeof(((struct sockaddr_un *)0)->sun_path) - 1;

	snprintf(g->path, sizeof(g->path), "%s", c->socket);
	if (strlen(g->path) > most)
		return err_set(e, ERR_USAGE,
			       "a socket's path has at most %zu bytes, %s has "
			       "%zu",
			       most, g->path, strlen(g->path));
	if (!find_groups(g, c, e) || !take_lock(g, e) || !clear_path(g, e) ||
	    !unix_listener_listen_on(g, c->socket_group, e))
		return false;
	g->patience_ns = (int64_t)c->handshake_timeout_s * NS_PER_S;
	g->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	g->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (g->stop_fd < 0 || g->epoll_fd < 0)
		return err_errno(e, "make an event loop");
	return unix_listener_watch(g, &g->listen_fd, e) &&
	       unix_listener_watch(g, &g->stop_fd, e);
}

static void connection_close(struct unix_listener *g, struct connection *c)
{
	LIST_REMOVE(c, entry);
	if (c->silent_fd >= 0) {
		g->n_silent--;
		close(c->silent_fd);
	}
	/* gRPC may have the socket still, and that would keep it in there. */
	epoll_ctl(g->epoll_fd, EPOLL_CTL_DEL, c->fd, NULL);
	close(c->fd);
	free(c->refusal);
	if (c->peer)
		peer_unref(c->peer);
	free(c);
}

/* Hang-ups are told without being asked for. Each piece of news is told once:
 * bytes that are only looked at would be told for ever. */
static bool unix_listener_keep(struct unix_listener *g, int fd,
			       struct peer *who)
{
	struct connection *c = calloc(1, sizeof(*c));

	if (!c)
		return false;
	c->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	c->silent_fd = fd;
	c->since_ns = monotonic_ns();
	bool refused = who->place == PLACE_REFUSED;
	c->refusal = refused ? malloc(sizeof(*c->refusal)) : NULL;
	if (c->refusal)
		refusal_init(c->refusal, &who->refusal);
	struct epoll_event ev = {.events = EPOLLIN | EPOLLET, .data.ptr = c};
	if (c->fd < 0 || (refused && !c->refusal) ||
	    epoll_ctl(g->epoll_fd, EPOLL_CTL_ADD, c->fd, &ev) < 0) {
		close_fd(&c->fd);
		free(c->refusal);
		free(c);
		return false;
	}
	/* It may end before its connection does: others end peers, too. */
	c->peer = who;
	atomic_fetch_add(&who->refs, 1);
	LIST_INSERT_HEAD(&g->connections, c, entry);
	g->n_silent++;
	return true;
}

static bool has_group(const gid_t *all, size_t n, gid_t group)
{
	for (size_t i = 0; i < n; i++)
		if (all[i] == group)
			return true;
	return false;
}

/* By what the kernel knows of the process that connected: no names are looked
 * up, and nothing waits. */
static enum role role_of(const struct unix_listener *g, int fd,
			 const struct ucred *peer)
{
	gid_t few[64], *all = few;
	socklen_t n = sizeof(few);

	if (!g->has_viewers || peer->uid == 0 || peer->uid == geteuid())
		return ROLE_OPERATOR;
	if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, all, &n) < 0) {
		if (errno != ERANGE || !(all = malloc(n)) ||
		    getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, all, &n) < 0)
			n = 0;
	}
	size_t groups = n / sizeof(gid_t);
	enum role role = ROLE_NONE;
	if (g->operators && (peer->gid == g->operators ||
			     (all && has_group(all, groups, g->operators))))
		role = ROLE_OPERATOR;
	else if (peer->gid == g->viewers ||
		 (all && has_group(all, groups, g->viewers)))
		role = ROLE_VIEWER;
	if (all != few)
		free(all);
	return role;
}

/* gRPC has it, or had. */
static bool unix_listener_is_served(const struct connection *v)
{
	return v->silent_fd < 0 && !v->data;
}

static void hung_up(struct unix_listener *g, struct connection *v)
{
	if (!unix_listener_is_served(v))
		peer_unref(v->peer);
	else
		peer_end(v->peer);
	connection_close(g, v);
}

/* Who hears why it is refused keeps the next one from it no longer than that
 * one comes. */
static void refuse_room(struct unix_listener *g, struct server *s)
{
	struct connection *v, *oldest = NULL;

	pthread_mutex_lock(&s->lock);
	bool full = s->n_places[PLACE_REFUSED] >= REFUSED_MAX;
	pthread_mutex_unlock(&s->lock);
	if (!full)
		return;
	LIST_FOREACH(v, &g->connections, entry)
		if (v->refusal && (!oldest || v->since_ns < oldest->since_ns))
			oldest = v;
	if (oldest)
		hung_up(g, oldest);
}

static void unix_listener_admit(struct unix_listener *g, struct server *s,
				int fd)
{
	struct ucred peer = {.uid = (uid_t)-1, .gid = (gid_t)-1};
	socklen_t n = sizeof(peer);
	struct err e = ERR_INIT;
	int bytes = SEND_BYTES;

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &n) < 0)
		peer.uid = (uid_t)-1;
	setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
	struct peer *who = peer_new(s, FROM_SOCKET, &e);
	if (who) {
		who->local.uid = peer.uid;
		who->local.role = role_of(g, fd, &peer);
		who->local.is_root = peer.uid == 0 || peer.uid == geteuid();
		snprintf(who->local.name, sizeof(who->local.name), "user %d",
			 (int)peer.uid);
		memcpy(who->from, who->local.name, sizeof(who->local.name));
		who->since_ns = monotonic_ns();
		refuse_room(g, s);
		peer_count(who, &e);
	}
	bool kept = who && who->place != PLACE_ARRIVING &&
		    unix_listener_keep(g, fd, who);
	if (who && !kept && !e.kind)
		err_set(&e, ERR_LIMIT, "pcapd is out of descriptors");
	if (e.kind)
		log_warn("a connection of user %d was refused: %s",
			 (int)peer.uid, e.what);
	if (kept)
		return;
	if (who)
		peer_unref(who);
	close(fd);
}

bool unix_listener_has_descriptors(const struct unix_listener *g)
{
	int fds[CONNECTION_FDS];
	unsigned n = 0;

	while (n < CONNECTION_FDS &&
	       (fds[n] = fcntl(g->stop_fd, F_DUPFD_CLOEXEC, 3)) >= 0)
		n++;
	int error = errno;
	bool all = n == CONNECTION_FDS;
	while (n)
		close(fds[--n]);
	errno = error;
	return all;
}

void unix_listener_back_off(struct unix_listener *g)
{
	if (errno != EMFILE && errno != ENFILE && errno != ENOBUFS &&
	    errno != ENOMEM)
		return;
	if (!g->waited_ns || monotonic_ns() - g->waited_ns >= WAIT_SAY_NS) {
		g->waited_ns = monotonic_ns();
		log_warn("connections wait: %s", strerror(errno));
	}
	struct pollfd stop = {.fd = g->stop_fd, .events = POLLIN};
	poll(&stop, 1, BACK_OFF_MS);
}

static void accept_one(struct unix_listener *g, struct server *s)
{
	int fd = -1;

	if (unix_listener_has_descriptors(g))
		fd = accept4(g->listen_fd, NULL, NULL,
			     SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (fd >= 0)
		unix_listener_admit(g, s, fd);
	else
		unix_listener_back_off(g);
}

/* What pcap proxy says of where it comes from. */
static void unix_listener_take_line(struct connection *v, const char *line,
				    size_t n)
{
	struct peer *who = v->peer;
	struct proxy_protocol p;

	if (who->local.role == ROLE_NONE || !proxy_protocol_parse(line, n, &p))
		return;
	if (!proxy_protocol_is_real(&p)) {
		log_info("%s names a connection that sshd does not have",
			 who->local.name);
		return;
	}
	pthread_mutex_lock(&who->server->lock);
	who->origin = FROM_SSH;
	pthread_mutex_unlock(&who->server->lock);
	who->carrier = proxy_protocol_flow(&p);
	proxy_protocol_text(&p, who->from, sizeof(who->from));
	log_info("%s (%s) came in by ssh from %s", who->local.name,
		 role_text(who->local.role), who->from);
}

/* The length of a line that is not for gRPC, as of proxy_protocol_line. */
static int line_length(struct connection *v, const char *bytes, size_t n)
{
	int proxied = proxy_protocol_line(bytes, n),
	    data = side_channel_line(bytes, n);

	v->data = data > 0;
	return proxied ? proxied : data;
}

/* Bytes of who hears why it is refused, or its end. */
static void unix_listener_refuse(struct unix_listener *g, struct connection *v)
{
	struct refusal *r = v->refusal;
	bool first = !r->n_calls, goes_on = true;
	uint8_t bytes[4096];
	ssize_t n = 0;

	while (goes_on &&
	       (n = recv(v->fd, bytes, sizeof(bytes), MSG_DONTWAIT)) > 0) {
		goes_on = refusal_take(r, bytes, (size_t)n);
		if (r->n_out &&
		    send(v->fd, r->out, r->n_out,
			 MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t)r->n_out)
			goes_on = false;
		r->n_out = 0;
	}
	if (first && r->n_calls)
		audit_refused(v->peer);
	if (!goes_on || n == 0 || (n < 0 && errno != EAGAIN))
		hung_up(g, v);
}

/* --- the guard, for who is not trusted with gRPC itself --- */

struct guarded {
	struct peer *peer;
	struct tls_link *link;
	int plain;
};

static void *guarded_main(void *arg)
{
	struct guarded *p = arg;

	pthread_setname_np(pthread_self(), "pcapd-guard");
	peer_carry(p->peer, p->link, p->plain);
	tls_link_free(p->link);
	close(p->plain);
	peer_unref(p->peer);
	free(p);
	return NULL;
}

/* What gRPC gets in place of fd, or -1. fd is taken over. */
static int unix_listener_guard(struct peer *who, int fd, struct err *e)
{
	struct tls_link *l = tls_link_plain(fd, e);
	struct guarded *p = l ? malloc(sizeof(*p)) : NULL;
	int fds[2];

	if (!p || !tls_pair(fds, e)) {
		tls_link_free(l);
		free(p);
		return -1;
	}
	*p = (struct guarded){who, l, fds[1]};
	atomic_fetch_add(&who->refs, 1);
	if (server_thread(guarded_main, p, CARRY_STACK_BYTES))
		return fds[0];
	err_errno(e, "make a thread");
	atomic_fetch_sub(&who->refs, 1);
	tls_link_free(l);
	free(p);
	close(fds[0]);
	close(fds[1]);
	return -1;
}

/* Root and operators are: a copy of all that a replay sends is saved. */
static bool is_guarded(const struct peer *who)
{
	return who->rank == RANK_VIEWER;
}

static void unix_listener_serve(struct unix_listener *g, struct connection *v,
				int fd)
{
	struct err e = ERR_INIT;

	if (is_guarded(v->peer)) {
		fd = unix_listener_guard(v->peer, fd, &e);
		if (fd < 0) {
			log_warn("%s: %s", v->peer->local.name, e.what);
			v->data = true; /* gRPC never has it */
			hung_up(g, v);
			return;
		}
	}
	peer_serve(v->peer, fd);
}

/* The first bytes are there, or the end. */
static void unix_listener_heard(struct unix_listener *g, struct connection *v)
{
	char line[PROXIED_LINE_MAX];
	ssize_t n = recv(v->fd, line, sizeof(line), MSG_PEEK | MSG_DONTWAIT);

	if (n < 0 && errno == EAGAIN)
		return;
	int length = n > 0 ? line_length(v, line, (size_t)n) : 0;
	if (length < 0)
		return;
	if (n <= 0 || (length && recv(v->fd, line, (size_t)length,
				      MSG_DONTWAIT) != length)) {
		hung_up(g, v);
		return;
	}
	/* From here on only its end is of interest. */
	struct epoll_event ev = {.events = 0, .data.ptr = v};
	epoll_ctl(g->epoll_fd, EPOLL_CTL_MOD, v->fd, &ev);
	int fd = v->silent_fd;
	v->silent_fd = -1;
	g->n_silent--;
	if (!v->data) {
		unix_listener_take_line(v, line, (size_t)length);
		unix_listener_serve(g, v, fd);
	} else if (!side_channel_open(v->peer, line, fd)) {
		hung_up(g, v);
	}
}

/* Who says nothing keeps no place, nor does a data connection that no replay
 * comes for, nor who had time to hear why it has none, nor who has no call
 * while others wait. */
static void drop_silent(struct unix_listener *g)
{
	int64_t now = monotonic_ns();
	struct connection *next;

	for (struct connection *v = LIST_FIRST(&g->connections); v; v = next) {
		next = LIST_NEXT(v, entry);
		/* Its end is heard as any other. */
		if (unix_listener_is_served(v) && peer_is_idle(v->peer, now))
			shutdown(v->fd, SHUT_RDWR);
		if (now - v->since_ns <= g->patience_ns)
			continue;
		if (v->silent_fd >= 0 ||
		    (v->data && side_channel_is_idle(v->peer)))
			hung_up(g, v);
	}
}

static bool is_tls_listener(const struct tls_listener *r, const void *ptr)
{
	for (unsigned i = 0; i < r->n_fds; i++)
		if (ptr == &r->fds[i])
			return true;
	return false;
}

/* What has to be done from time to time. */
static void unix_listener_look(struct unix_listener *g, struct server *s,
			       int64_t *looked_ns)
{
	int64_t now = monotonic_ns();

	if (now - *looked_ns < LOOK_MS * NS_PER_MS)
		return;
	*looked_ns = now;
	if (s->tls_listener.allow)
		tls_listener_look(s);
	calls_review(s);
	peers_refused(s);
	peers_idle(s);
	drop_silent(g);
}

static unsigned count_peers(struct server *s)
{
	pthread_mutex_lock(&s->lock);
	unsigned n = s->n_peers;
	pthread_mutex_unlock(&s->lock);
	return n;
}

/* What connections took, which the allocator would keep for the next ones: when
 * half of those that were there have gone. */
static void unix_listener_give_back(struct unix_listener *g, unsigned peers)
{
	int64_t now = monotonic_ns();

	if (peers > g->most_peers)
		g->most_peers = peers;
	if (2 * peers > g->most_peers || !g->most_peers ||
	    now - g->given_back_ns < REVIEW_MS * NS_PER_MS)
		return;
	malloc_trim(0);
	g->most_peers = peers;
	g->given_back_ns = now;
}

void unix_listener_run(struct unix_listener *g, struct server *s)
{
	int64_t looked_ns = monotonic_ns();

	for (;;) {
		struct epoll_event ev;
		bool busy = s->tls_listener.allow || g->n_silent;
		unsigned peers = count_peers(s);
		/* Who is there may hang; nobody comes but through here. */
		unix_listener_give_back(g, peers);
		int patience_ms = busy			   ? LOOK_MS
				  : peers || g->most_peers ? REVIEW_MS
							   : -1;
		int n = epoll_wait(g->epoll_fd, &ev, 1, patience_ms);

		if (n < 0 && errno != EINTR)
			return;
		if (patience_ms > 0)
			unix_listener_look(g, s, &looked_ns);
		if (n <= 0)
			continue;
		if (ev.data.ptr == &g->stop_fd)
			return;
		struct connection *v = ev.data.ptr;
		if (ev.data.ptr == &g->listen_fd)
			accept_one(g, s);
		else if (is_tls_listener(&s->tls_listener, ev.data.ptr))
			tls_listener_accept(s, *(int *)ev.data.ptr);
		else if (v->refusal)
			unix_listener_refuse(g, v);
		else if (v->silent_fd >= 0)
			unix_listener_heard(g, v);
		else
			hung_up(g, v);
	}
}

void unix_listener_stop(struct unix_listener *g)
{
	uint64_t one = 1;

	if (g->stop_fd >= 0 && write(g->stop_fd, &one, sizeof(one)) < 0) {
		/* It is full, so it is readable. */
	}
}

void unix_listener_shut(struct unix_listener *g)
{
	struct connection *next;

	for (struct connection *v = LIST_FIRST(&g->connections); v; v = next) {
		next = LIST_NEXT(v, entry);
		if (!unix_listener_is_served(v)) {
			hung_up(g, v);
		} else if (v->peer) {
			peer_unref(v->peer);
			v->peer = NULL;
		}
	}
	if (g->listen_fd < 0)
		return;
	unlink(g->path);
	close_fd(&g->listen_fd);
}

void unix_listener_cut(struct unix_listener *g)
{
	struct connection *c;

	LIST_FOREACH(c, &g->connections, entry)
		shutdown(c->fd, SHUT_RDWR);
}

/* The lock file stays: removing it would let two daemons lock two files. */
void unix_listener_close(struct unix_listener *g)
{
	unix_listener_shut(g);
	while (!LIST_EMPTY(&g->connections))
		connection_close(g, LIST_FIRST(&g->connections));
	close_fd(&g->epoll_fd);
	close_fd(&g->stop_fd);
	close_fd(&g->lock_fd);
}
