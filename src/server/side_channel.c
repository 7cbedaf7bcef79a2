/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Data connections: a replay's stored frames beside gRPC, from the page cache.
 * Guarantees that one serves one replay, of the user who made it, and that a
 * frame takes its place on it whatever happens to its file. Leaves out when a
 * frame may go this way: replay.c. The line and the bytes: pcap.proto.
 */
#include "server/side_channel.h"

#include "server/server_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>

#define WORD "PCAPD-DATA "
_Static_assert(DATA_LINE_BYTES == sizeof(WORD) - 1 + 2 * TICKET_BYTES + 1,
	       "the word, the digits, the end of the line");

/* --- the line --- */

int side_channel_line(const char *bytes, size_t n)
{
	size_t word = strlen(WORD);

	if (memcmp(bytes, WORD, n < word ? n : word) != 0)
		return 0;
	return n < DATA_LINE_BYTES ? -1 : DATA_LINE_BYTES;
}

static int server_side_channel_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool side_channel_parse(const char line[DATA_LINE_BYTES],
			uint8_t ticket[TICKET_BYTES])
{
	const char *at = line + strlen(WORD);

	for (size_t i = 0; i < TICKET_BYTES; i++) {
		int high = server_side_channel_digit(at[2 * i]),
		    low = server_side_channel_digit(at[2 * i + 1]);

		if (high < 0 || low < 0)
			return false;
		ticket[i] = (uint8_t)(high << 4 | low);
	}
	return at[2 * TICKET_BYTES] == '\n';
}

/* --- whose it is --- */

/* With the server's lock. A data connection of who made `of`. */
static struct peer *server_side_channel_find(const struct peer *of,
					     const uint8_t *ticket)
{
	struct peer *c;

	LIST_FOREACH(c, &of->server->peers, entry)
		if (c->side_channel.state && c->local.uid == of->local.uid &&
		    c->local.role == of->local.role &&
		    memcmp(c->side_channel.ticket, ticket, TICKET_BYTES) == 0)
			return c;
	return NULL;
}

bool side_channel_open(struct peer *c, const char line[DATA_LINE_BYTES], int fd)
{
	uint8_t ticket[TICKET_BYTES];

	c->data_fd = fd;
	if (!side_channel_parse(line, ticket) || c->refusal.kind ||
	    c->local.role < ROLE_VIEWER)
		return false;
	/* Who sends a frame has a thread of its own, and waits in sendfile. */
	if (fcntl(fd, F_SETFL, 0) < 0)
		return false;
	pthread_mutex_lock(&c->server->lock);
	bool ours = !server_side_channel_find(c, ticket);
	memcpy(c->side_channel.ticket, ticket, TICKET_BYTES);
	if (ours)
		c->side_channel.state = SIDE_CHANNEL_OPEN;
	pthread_mutex_unlock(&c->server->lock);
	return ours && send(fd, "+", 1, MSG_NOSIGNAL) == 1;
}

struct peer *side_channel_take(struct peer *of,
			       const ProtobufCBinaryData *ticket)
{
	struct server *s = of->server;
	struct peer *found = NULL;

	if (ticket->len != TICKET_BYTES)
		return NULL;
	pthread_mutex_lock(&s->lock);
	if (of->origin == FROM_SOCKET)
		found = server_side_channel_find(of, ticket->data);
	if (found && (found->side_channel.state == SIDE_CHANNEL_TAKEN ||
		      !peer_ref_living(found)))
		found = NULL;
	if (found)
		found->side_channel.state = SIDE_CHANNEL_TAKEN;
	pthread_mutex_unlock(&s->lock);
	return found;
}

bool side_channel_is_idle(struct peer *c)
{
	pthread_mutex_lock(&c->server->lock);
	bool idle = c->side_channel.state != SIDE_CHANNEL_TAKEN;
	c->side_channel.state = SIDE_CHANNEL_TAKEN;
	pthread_mutex_unlock(&c->server->lock);
	return idle;
}

void side_channel_end(struct peer *c)
{
	/* What was sent can still be read. */
	shutdown(c->data_fd, SHUT_RDWR);
	peer_unref(c);
}

/* --- frames --- */

static bool send_all(int fd, const uint8_t *bytes, size_t n)
{
	while (n) {
		ssize_t sent = send(fd, bytes, n, MSG_NOSIGNAL);

		if (sent < 0 && errno == EINTR)
			continue;
		if (sent < 0)
			return false;
		bytes += sent;
		n -= (size_t)sent;
	}
	return true;
}

static bool send_nothing(int fd, size_t n)
{
	static const uint8_t nothing[4096];

	while (n) {
		size_t some = n < sizeof(nothing) ? n : sizeof(nothing);

		if (!send_all(fd, nothing, some))
			return false;
		n -= some;
	}
	return true;
}

/* As much as the file and the socket take; errno is 0 at the file's end. */
static size_t send_file(int to, int from, uint64_t offset, size_t n)
{
	off_t at = (off_t)offset;
	size_t have = 0;

	while (have < n) {
		errno = 0;
		ssize_t sent = sendfile(to, from, &at, n - have);
		if (sent < 0 && errno == EINTR)
			continue;
		if (sent <= 0)
			break;
		have += (size_t)sent;
	}
	return have;
}

/* What send_file left. A read says whether it is the file, and counts it. */
static bool send_rest(int fd, struct cursor *from,
		      const struct block_info *info, size_t have, bool *whole)
{
	size_t left = info->stored_bytes - have;
	struct block *b = cursor_read(from, info);

	*whole = b;
	bool ok = b ? send_all(fd, b->arena + have, left)
		    : send_nothing(fd, left);
	block_unref(b);
	return ok;
}

bool side_channel_send(struct peer *c, struct cursor *from,
		       const struct cursor_item *frame, bool *whole)
{
	int fd = c->data_fd;
	size_t n = frame->info.stored_bytes;
	size_t have = send_file(fd, frame->fd, frame->info.offset, n);

	*whole = have == n;
	if (have < n &&
	    (errno == EPIPE || !send_rest(fd, from, &frame->info, have, whole)))
		return false;
	return send_all(fd, (const uint8_t *)(*whole ? "+" : "-"), 1);
}
