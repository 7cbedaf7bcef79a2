/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How a pcapd is reached. Guarantees that a connection which is given out was
 * taken by the other side, so that what is wrong with it is told here, in
 * words. TLS has a thread that carries bytes; ssh is a program of the user's.
 * Leaves out what is said over the connection.
 */
#include "client/link.h"

#include "tls/pump.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PATIENCE_MS 10000
#define CARRIER_TEXT 256
#define CARRIER_PARENTS_MAX 16
#define SSH_ENDS_MS 2000
/* A machine that is gone is found out after 30 + 3 * 30 s, as pcapd does it. */
#define KEEPALIVE_S 30
#define KEEPALIVE_TIMES 3
#define KEEPALIVE_SSH "-oServerAliveInterval=30", "-oServerAliveCountMax=3"

struct client_link {
	struct tls_link *tls; /* NULL: there is no thread */
	int plain;	      /* our end of a pair, a dup for ssh, or -1 */
	pthread_t thread;
	pid_t ssh; /* 0: there is none */
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

int client_connect(const char *path, struct err *e)
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

static bool carrier_in_environ(pid_t pid, char connection[CARRIER_TEXT])
{
	static const char name[] = "SSH_CONNECTION=";
	char path[64], *line = NULL;
	bool found = false;
	size_t room = 0;

	snprintf(path, sizeof(path), "/proc/%d/environ", (int)pid);
	FILE *f = fopen(path, "re");
	while (f && !found && getdelim(&line, &room, '\0', f) > 0) {
		found = strncmp(line, name, sizeof(name) - 1) == 0;
		if (found)
			snprintf(connection, CARRIER_TEXT, "%s",
				 line + sizeof(name) - 1);
	}
	free(line);
	if (f)
		fclose(f);
	return found;
}

static pid_t carrier_parent(pid_t pid)
{
	char path[64], text[512];
	int parent = 0;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	FILE *f = fopen(path, "re");
	const char *end =
		f && fgets(text, sizeof(text), f) ? strrchr(text, ')') : NULL;
	if (end && sscanf(end + 1, " %*c %d", &parent) != 1)
		parent = 0;
	if (f)
		fclose(f);
	return parent;
}

/* sudo(8) and su(1) forget it: then the next who started them has it. */
static bool carrier_find(char connection[CARRIER_TEXT])
{
	const char *own = getenv("SSH_CONNECTION");
	pid_t pid = own ? 0 : getppid();

	if (own)
		snprintf(connection, CARRIER_TEXT, "%s", own);
	for (int i = 0; pid > 1 && i < CARRIER_PARENTS_MAX; i++) {
		if (carrier_in_environ(pid, connection))
			return true;
		pid = carrier_parent(pid);
	}
	return own != NULL;
}

/* SSH_CONNECTION has the client's address and port, and the server's. */
size_t client_carrier(char out[CLIENT_CARRIER_MAX])
{
	char connection[CARRIER_TEXT], from[64], to[64];
	struct in6_addr ignored;
	unsigned from_port, to_port;

	if (!carrier_find(connection) ||
	    sscanf(connection, "%63s %u %63s %u", from, &from_port, to,
		   &to_port) != 4)
		return 0;
	bool six = inet_pton(AF_INET6, from, &ignored) == 1;
	if (!six && inet_pton(AF_INET, from, &ignored) != 1)
		return 0;
	return (size_t)snprintf(out, CLIENT_CARRIER_MAX,
				"PROXY TCP%d %s %s %u %u\r\n", six ? 6 : 4,
				from, to, from_port, to_port);
}

static bool open_unix(const struct address *to, int *fd, struct err *e)
{
	char line[CLIENT_CARRIER_MAX];

	*fd = client_connect(to->path, e);
	if (*fd < 0)
		return false;
	size_t n = to->carried ? client_carrier(line) : 0;
	if (n == 0 || send(*fd, line, n, MSG_NOSIGNAL) == (ssize_t)n)
		return true;
	err_errno(e, "write to pcapd");
	close(*fd);
	return false;
}

/* --- TLS --- */

/* While nothing is under way the kernel asks; while something is, it waits for
 * it to be taken. Without these: two hours, and a quarter of one. */
static void keep_alive(int fd)
{
	int on = 1, idle = KEEPALIVE_S, times = KEEPALIVE_TIMES;
	unsigned taken_ms = (KEEPALIVE_TIMES + 1) * KEEPALIVE_S * 1000;

	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &idle, sizeof(idle));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &times, sizeof(times));
	setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &taken_ms,
		   sizeof(taken_ms));
}

static int connect_one(const struct addrinfo *a)
{
	int on = 1, no = 0;
	socklen_t n = sizeof(no);
	int fd = socket(a->ai_family,
			SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0)
		return -1;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	keep_alive(fd);
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
	if (no == EINVAL && strncasecmp(to->host, "fe80:", 5) == 0)
		err_hint(e,
			 "An address of a link needs the interface that leads "
			 "to it: [%s%%eth0].",
			 to->host);
	else
		err_hint(e, "Does it listen there ('listen' in its "
			    "pcapd.conf)?");
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

static void *link_pump_main(void *arg)
{
	struct client_link *l = arg;

	tls_pump(l->tls, l->plain, NULL);
	/* gRPC sees the end, also when it is the pump's. */
	shutdown(l->plain, SHUT_RDWR);
	return NULL;
}

static bool open_tls(struct client_link *l, const struct address *to, int *fd,
		     struct err *e)
{
	int fds[2];

	l->tls = connect_tls(to, e);
	if (!l->tls)
		return false;
	if (!tls_pair(fds, e))
		return false;
	l->plain = fds[1];
	errno = pthread_create(&l->thread, NULL, link_pump_main, l);
	if (errno) {
		close(fds[0]);
		return err_errno(e, "make a thread");
	}
	*fd = fds[0];
	return true;
}

/* --- ssh --- */

/* What the other side of the pair is for ssh; it may ask for a password at the
 * terminal, and what it says on stderr is for the user. */
static bool spawn_ssh(struct client_link *l, const struct address *to, int fd,
		      struct err *e)
{
	const char *argv[14] = {"ssh", "-T", KEEPALIVE_SSH};
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attr;
	sigset_t none, standard;
	int n = 4;

	if (*to->port) {
		argv[n++] = "-p";
		argv[n++] = to->port;
	}
	if (*to->user) {
		argv[n++] = "-l";
		argv[n++] = to->user;
	}
	argv[n++] = "--";
	argv[n++] = to->host;
	argv[n++] = "pcap proxy";
	sigemptyset(&none);
	sigemptyset(&standard);
	sigaddset(&standard, SIGPIPE);
	posix_spawn_file_actions_init(&files);
	posix_spawn_file_actions_adddup2(&files, fd, STDIN_FILENO);
	posix_spawn_file_actions_adddup2(&files, fd, STDOUT_FILENO);
	posix_spawnattr_init(&attr);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK |
						POSIX_SPAWN_SETSIGDEF);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setsigdefault(&attr, &standard);
	errno = posix_spawnp(&l->ssh, "ssh", &files, &attr, (char **)argv,
			     environ);
	posix_spawnattr_destroy(&attr);
	posix_spawn_file_actions_destroy(&files);
	if (!errno)
		return true;
	l->ssh = 0;
	return err_errno(e, "run ssh");
}

/* ssh has ended before pcapd said anything. */
static bool explain_ssh(struct client_link *l, const struct address *to,
			struct err *e)
{
	int status = 0;

	while (waitpid(l->ssh, &status, 0) < 0 && errno == EINTR)
		;
	l->ssh = 0;
	int code = WIFEXITED(status) ? WEXITSTATUS(status) : 255;
	if (code == 127) {
		err_set(e, ERR_UNREACHABLE, "there is no pcap on %s", to->host);
		return err_hint(e, "Install it there, where a shell finds it "
				   "without a login.");
	}
	if (code == err_exit_code(ERR_PERMISSION))
		return err_set(e, ERR_PERMISSION,
			       "you may not connect to the pcapd of %s",
			       to->host);
	err_set(e, ERR_UNREACHABLE, "cannot reach pcapd of %s over ssh",
		to->host);
	return err_hint(e,
			code == 255 ? "What ssh said is above; 'ssh %s' has "
				      "to work."
				    : "What pcap there said is above.",
			to->host);
}

static bool open_ssh(struct client_link *l, const struct address *to, int *fd,
		     struct err *e)
{
	char first;
	int fds[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
		return err_errno(e, "make a pair of sockets");
	bool ok = spawn_ssh(l, to, fds[1], e);
	close(fds[1]);
	/* The proxy's first line makes pcapd speak first. */
	if (ok && recv(fds[0], &first, 1, MSG_PEEK) != 1)
		ok = explain_ssh(l, to, e);
	l->plain = ok ? fcntl(fds[0], F_DUPFD_CLOEXEC, 3) : -1;
	if (!ok) {
		close(fds[0]);
		return false;
	}
	fcntl(fds[0], F_SETFL, O_NONBLOCK);
	*fd = fds[0];
	return true;
}

/* It ends with its input; when its network does not, it is not waited for. */
static void end_ssh(pid_t ssh)
{
	int fd = (int)syscall(SYS_pidfd_open, ssh, 0);
	struct pollfd p = {.fd = fd, .events = POLLIN};

	if (fd < 0 || poll(&p, 1, SSH_ENDS_MS) != 1)
		kill(ssh, SIGTERM);
	if (fd >= 0)
		close(fd);
	while (waitpid(ssh, NULL, 0) < 0 && errno == EINTR)
		;
}

/* --- all kinds --- */

static bool open_any(struct client_link *l, const struct address *to, int *fd,
		     struct err *e)
{
	if (to->kind == ADDRESS_TLS)
		return open_tls(l, to, fd, e);
	if (to->kind == ADDRESS_SSH)
		return open_ssh(l, to, fd, e);
	return open_unix(to, fd, e);
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
	if (l->ssh)
		end_ssh(l->ssh);
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
	if (l->ssh) {
		shutdown(l->plain, SHUT_RDWR);
		close(l->plain);
		end_ssh(l->ssh);
	}
	free(l);
}
