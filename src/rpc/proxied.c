/*
 * Who is behind `pcap proxy`: the first line of a connection on the socket.
 * Guarantees that a connection is named as the carrier only if this kernel has
 * it, established, and it is root's (sshd's) or the caller's own: anybody could
 * say anything. Leaves out machines whose sshd is elsewhere.
 */
#include "rpc.h"

#include <arpa/inet.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define PROXY "PROXY "

int proxied_line(const char *bytes, size_t n)
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

bool proxied_parse(const char *line, size_t n, struct proxied *p)
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

struct question {
	struct nlmsghdr head;
	struct inet_diag_req_v2 body;
};

static bool ask(int fd, const struct proxied *p)
{
	struct sockaddr_nl kernel = {.nl_family = AF_NETLINK};
	struct question q = {
		.head = {.nlmsg_len = sizeof(q),
			 .nlmsg_type = SOCK_DIAG_BY_FAMILY,
			 .nlmsg_flags = NLM_F_REQUEST},
		.body = {.sdiag_family = (uint8_t)p->family,
			 .sdiag_protocol = IPPROTO_TCP,
			 .idiag_states = 1 << TCP_ESTABLISHED,
			 .id = {.idiag_sport = htons(p->server_port),
				.idiag_dport = htons(p->client_port),
				.idiag_cookie = {INET_DIAG_NOCOOKIE,
						 INET_DIAG_NOCOOKIE}}},
	};
	size_t n = p->family == AF_INET6 ? 16 : 4;

	memcpy(q.body.id.idiag_src, p->server, n);
	memcpy(q.body.id.idiag_dst, p->client, n);
	return sendto(fd, &q, sizeof(q), 0, (void *)&kernel, sizeof(kernel)) ==
	       sizeof(q);
}

bool proxied_is_real(const struct proxied *p, uid_t caller)
{
	union {
		struct nlmsghdr head;
		char bytes[1024];
	} answer;
	int fd = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC,
			NETLINK_SOCK_DIAG);

	if (fd < 0)
		return false;
	ssize_t n = ask(fd, p) ? recv(fd, &answer, sizeof(answer), 0) : -1;
	close(fd);
	if (n < (ssize_t)NLMSG_LENGTH(sizeof(struct inet_diag_msg)) ||
	    answer.head.nlmsg_type != SOCK_DIAG_BY_FAMILY)
		return false;
	const struct inet_diag_msg *m = NLMSG_DATA(&answer.head);
	return m->idiag_state == TCP_ESTABLISHED &&
	       (m->idiag_uid == 0 || m->idiag_uid == caller);
}

struct flow proxied_flow(const struct proxied *p)
{
	struct flow f = {.family = p->family,
			 .near_port = p->server_port,
			 .far_port = p->client_port};

	memcpy(f.near, p->server, sizeof(f.near));
	memcpy(f.far, p->client, sizeof(f.far));
	return f;
}

void proxied_text(const struct proxied *p, char *out, size_t room)
{
	char host[INET6_ADDRSTRLEN] = "?";

	inet_ntop(p->family, p->client, host, sizeof(host));
	snprintf(out, room, p->family == AF_INET6 ? "[%s]:%u" : "%s:%u", host,
		 p->client_port);
}
