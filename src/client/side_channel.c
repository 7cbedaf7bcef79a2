/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The data connection to a pcapd on this machine. Guarantees that one is there
 * only if pcapd said so; whoever has none goes without. The line and the
 * bytes: pcap.proto.
 */
#include "client/side_channel.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#define WORD "PCAPD-DATA "
#define LINE_BYTES (sizeof(WORD) - 1 + 2 * CLIENT_TICKET_BYTES + 1)
/* A pcapd that knows the line answers at once. */
#define PATIENCE_MS 1000

static bool write_line(int fd, const uint8_t ticket[CLIENT_TICKET_BYTES])
{
	char line[LINE_BYTES + 1] = WORD;
	size_t at = strlen(line);

	for (size_t i = 0; i < CLIENT_TICKET_BYTES; i++)
		at += (size_t)sprintf(line + at, "%02x", ticket[i]);
	line[at++] = '\n';
	return send(fd, line, at, MSG_NOSIGNAL) == (ssize_t)at;
}

static bool is_answered(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	char answer;

	return poll(&p, 1, PATIENCE_MS) == 1 && recv(fd, &answer, 1, 0) == 1 &&
	       answer == '+';
}

int client_data_open(const char *path, uint8_t ticket[CLIENT_TICKET_BYTES])
{
	struct err ignored;
	int fd = -1;

	if (getrandom(ticket, CLIENT_TICKET_BYTES, 0) == CLIENT_TICKET_BYTES)
		fd = client_connect(path, &ignored);
	if (fd < 0)
		return -1;
	if (write_line(fd, ticket) && is_answered(fd) &&
	    fcntl(fd, F_SETFL, 0) == 0)
		return fd;
	close(fd);
	return -1;
}

bool client_data_read(int fd, uint8_t *to, size_t n)
{
	while (n) {
		ssize_t got = recv(fd, to, n, MSG_WAITALL);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return false;
		to += got;
		n -= (size_t)got;
	}
	return true;
}
