/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * pcap proxy: between the standard input and output and the daemon's socket,
 * for ssh. Guarantees that the daemon hears which TCP connection carries it,
 * before anything else, as sshd tells it. Leaves out everything that is said.
 */
#include "cli/cli.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define LANE_BYTES (256 << 10)

static bool proxy_write_all(int fd, const char *bytes, size_t n)
{
	while (n) {
		ssize_t wrote = write(fd, bytes, n);

		if (wrote < 0 && errno == EAGAIN) {
			struct pollfd p = {.fd = fd, .events = POLLOUT};
			poll(&p, 1, -1);
			continue;
		}
		if (wrote < 0 && errno == EINTR)
			continue;
		if (wrote < 0)
			return false;
		bytes += wrote;
		n -= (size_t)wrote;
	}
	return true;
}

/* One direction; each has a thread, as it waits in reads and in writes. */
static void proxy_carry(int from, int to)
{
	char *bytes = malloc(LANE_BYTES);

	while (bytes) {
		ssize_t n = read(from, bytes, LANE_BYTES);

		if (n < 0 && errno == EAGAIN) {
			struct pollfd p = {.fd = from, .events = POLLIN};
			poll(&p, 1, -1);
			continue;
		}
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0 || !proxy_write_all(to, bytes, (size_t)n))
			break;
	}
	free(bytes);
}

struct proxy_lane {
	int from, to;
};

static void *proxy_upward(void *arg)
{
	const struct proxy_lane *l = arg;

	proxy_carry(l->from, l->to);
	/* ssh is gone, or the daemon does not read: both ends end. */
	shutdown(l->to, SHUT_RDWR);
	return NULL;
}

static int proxy_run(const struct words *words)
{
	struct err e = ERR_INIT;
	char line[CLIENT_CARRIER_MAX];
	pthread_t thread;

	(void)words;
	int fd = client_connect(cli_socket(), &e);
	if (fd < 0)
		return cli_fail(&e);
	size_t n = client_carrier(line);
	/* A first line makes pcapd speak first. */
	if (n == 0)
		n = (size_t)snprintf(line, sizeof(line), "PROXY UNKNOWN\r\n");
	struct proxy_lane up = {STDIN_FILENO, fd};
	if (!proxy_write_all(fd, line, n)) {
		err_errno(&e, "write to pcapd");
		return cli_fail(&e);
	}
	errno = pthread_create(&thread, NULL, proxy_upward, &up);
	if (errno) {
		err_errno(&e, "make a thread");
		return cli_fail(&e);
	}
	proxy_carry(fd, STDOUT_FILENO);
	/* The other thread may wait for the standard input for ever. */
	_exit(0);
}

const struct command command_proxy = {
	.name = "proxy",
	.summary = "what ssh:// remotes run on the other machine",
	.args = "",
	.help = "Carries bytes between the standard input and output and the "
		"daemon's socket. ssh:// remotes run it on the machine that "
		"they name; it is of no use by hand.",
	.run = proxy_run,
};
