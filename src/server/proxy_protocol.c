/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Who is behind `pcap proxy`: the first line of a connection on the socket.
 * Guarantees that a connection is named as the carrier only if this kernel has
 * it, established, its near end is root's (sshd's), and root listens at that
 * port: anybody could say anything. Leaves out machines whose sshd is
 * elsewhere.
 */
#include "server/proxy_protocol.h"

#include <arpa/inet.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define PROXY "PROXY "

int proxy_protocol_line(const char *bytes, size_t n)
{
	size_t word = strlen(PROXY);

	if (memcmp(bytes, PROXY, n < word ? n : word) != 0)
		return 0;
	const char *end = memchr(bytes, '\n', n);
	if (end)
		return (int)(end + 1 - bytes);
	return n < PROXIED_LINE_MAX ? -1 : 0;
}

static bool port_is(unsigned port)
{
	return port > 0 && port < 65536;
}

bool proxy_protocol_parse(const char *line, size_t n, struct proxy_protocol *p)
{
	char text[PROXIED_LINE_MAX + 1], from[64], to[64], rest[2];
	unsigned from_port, to_port, version;

	if (n > PROXIED_LINE_MAX || memchr(line, '\0', n))
		return false;
	memcpy(text, line, n);
	text[n] = '\0';
	if (sscanf(text, PROXY "TCP%1u %63s %63s %5u %5u%1s", &version, from,
		   to, &from_port, &to_port, rest) != 5 ||
	    !port_is(from_port) || !port_is(to_port))
		return false;
	memset(p, 0, sizeof(*p));
	p->family = version == 6 ? AF_INET6 : AF_INET;
	p->client_port = (uint16_t)from_port;
	p->server_port = (uint16_t)to_port;
	return (version == 4 || version == 6) &&
	       inet_pton(p->family, from, p->client) == 1 &&
	       inet_pton(p->family, to, p->server) == 1;
}

struct proxy_protocol_question {
	struct nlmsghdr head;
	struct inet_diag_req_v2 body;
};

static int diag_open(void)
{
	struct timeval patience = {.tv_sec = 1};
	int fd = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC,
			NETLINK_SOCK_DIAG);

	if (fd >= 0)
		setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience,
			   sizeof(patience));
	return fd;
}

static bool diag_ask(int fd, unsigned flags, int family, unsigned state,
		     const struct inet_diag_sockid *id)
{
	struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
	struct proxy_protocol_question q = {
		.head = {.nlmsg_len = sizeof(q),
			 .nlmsg_type = SOCK_DIAG_BY_FAMILY,
			 .nlmsg_flags = (uint16_t)(NLM_F_REQUEST | flags)},
		.body = {.sdiag_family = (uint8_t)family,
			 .sdiag_protocol = IPPROTO_TCP,
			 .idiag_states = 1u << state,
			 .id = *id},
	};

	return sendto(fd, &q, sizeof(q), 0, (void *)&kernel, sizeof(kernel)) ==
	       sizeof(q);
}

/* Of an answer; NULL: it is none, or the last. */
static const struct inet_diag_msg *diag_message(const struct nlmsghdr *h)
{
	if (h->nlmsg_type != SOCK_DIAG_BY_FAMILY ||
	    h->nlmsg_len < NLMSG_LENGTH(sizeof(struct inet_diag_msg)))
		return NULL;
	return NLMSG_DATA(h);
}

union diag_answer {
	struct nlmsghdr head;
	char bytes[16384];
};

static bool is_established(int fd, const struct proxy_protocol *p)
{
	struct inet_diag_sockid id = {
		.idiag_sport = htons(p->server_port),
		.idiag_dport = htons(p->client_port),
		.idiag_cookie = {INET_DIAG_NOCOOKIE, INET_DIAG_NOCOOKIE}};
	size_t bytes = p->family == AF_INET6 ? 16 : 4;
	union diag_answer a;

	memcpy(id.idiag_src, p->server, bytes);
	memcpy(id.idiag_dst, p->client, bytes);
	ssize_t n = diag_ask(fd, 0, p->family, TCP_ESTABLISHED, &id)
			    ? recv(fd, &a, sizeof(a), 0)
			    : -1;
	const struct inet_diag_msg *m =
		n > 0 && NLMSG_OK(&a.head, n) ? diag_message(&a.head) : NULL;
	return m && m->idiag_state == TCP_ESTABLISHED && m->idiag_uid == 0;
}

static bool proxy_protocol_is_there(const struct inet_diag_msg *m,
				    const struct proxy_protocol *p)
{
	static const uint8_t any[16];
	size_t bytes = m->idiag_family == AF_INET6 ? 16 : 4;

	return m->idiag_uid == 0 &&
	       m->id.idiag_sport == htons(p->server_port) &&
	       (memcmp(m->id.idiag_src, any, bytes) == 0 ||
		(m->idiag_family == p->family &&
		 memcmp(m->id.idiag_src, p->server, bytes) == 0));
}

/* Root listens there; a socket of IPv6 may hear IPv4, too. */
static bool is_listened_at(int fd, int family, const struct proxy_protocol *p)
{
	struct inet_diag_sockid id = {
		.idiag_sport = htons(p->server_port),
		.idiag_cookie = {INET_DIAG_NOCOOKIE, INET_DIAG_NOCOOKIE}};
	union diag_answer a;
	bool found = false;
	ssize_t n;

	if (!diag_ask(fd, NLM_F_DUMP, family, TCP_LISTEN, &id))
		return false;
	while ((n = recv(fd, &a, sizeof(a), 0)) > 0)
		for (const struct nlmsghdr *h = &a.head; NLMSG_OK(h, n);
		     h = NLMSG_NEXT(h, n)) {
			const struct inet_diag_msg *m = diag_message(h);

			if (!m)
				return found;
			found = found || proxy_protocol_is_there(m, p);
		}
	return found;
}

bool proxy_protocol_is_real(const struct proxy_protocol *p)
{
	int fd = diag_open();

	if (fd < 0)
		return false;
	bool real = is_established(fd, p) &&
		    ((p->family == AF_INET && is_listened_at(fd, AF_INET, p)) ||
		     is_listened_at(fd, AF_INET6, p));
	close(fd);
	return real;
}

struct flow proxy_protocol_flow(const struct proxy_protocol *p)
{
	struct flow f = {.family = p->family,
			 .near_port = p->server_port,
			 .far_port = p->client_port};

	memcpy(f.near, p->server, sizeof(f.near));
	memcpy(f.far, p->client, sizeof(f.far));
	return f;
}

void proxy_protocol_text(const struct proxy_protocol *p, char *out, size_t room)
{
	char host[INET6_ADDRSTRLEN] = "?";

	inet_ntop(p->family, p->client, host, sizeof(host));
	snprintf(out, room, p->family == AF_INET6 ? "[%s]:%u" : "%s:%u", host,
		 p->client_port);
}
