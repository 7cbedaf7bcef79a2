/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Connections in packets. Guarantees that nothing behind a packet's end is
 * read. Leaves out the same for the kernel: bpf_exclude.c.
 */
#include "packet/flow.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#define LINK_ETHERNET 1
#define LINK_RAW 101
#define LINK_IPV4 228
#define LINK_IPV6 229
#define LINK_SLL2 276

#define TAG_BYTES 4
#define PORTS_BYTES 4

bool flow_address(const struct sockaddr_storage *a, int *family,
		  uint8_t address[16], uint16_t *port)
{
	const struct sockaddr_in6 *six = (const void *)a;
	const struct sockaddr_in *four = (const void *)a;

	*family = AF_INET;
	if (a->ss_family == AF_INET) {
		memcpy(address, &four->sin_addr, 4);
		*port = ntohs(four->sin_port);
		return true;
	}
	if (a->ss_family != AF_INET6)
		return false;
	*port = ntohs(six->sin6_port);
	if (IN6_IS_ADDR_V4MAPPED(&six->sin6_addr)) {
		memcpy(address, &six->sin6_addr.s6_addr[12], 4);
		return true;
	}
	*family = AF_INET6;
	memcpy(address, &six->sin6_addr, 16);
	return true;
}

const char *flow_text(const struct flow *f, char out[FLOW_TEXT])
{
	char near[INET6_ADDRSTRLEN] = "?", far[INET6_ADDRSTRLEN] = "?";
	bool six = f->family == AF_INET6;

	inet_ntop(f->family, f->near, near, sizeof(near));
	inet_ntop(f->family, f->far, far, sizeof(far));
	snprintf(out, FLOW_TEXT, six ? "[%s]:%u [%s]:%u" : "%s:%u %s:%u", near,
		 f->near_port, far, f->far_port);
	return out;
}

enum layout layout_of_link_type(uint32_t link_type)
{
	switch (link_type) {
	case LINK_ETHERNET:
		return LAYOUT_ETHER;
	case LINK_SLL2:
		return LAYOUT_SLL2;
	case LINK_RAW:
	case LINK_IPV4:
	case LINK_IPV6:
		return LAYOUT_RAW;
	default:
		return LAYOUT_OTHER;
	}
}

static uint16_t flow_word(const uint8_t *at)
{
	return (uint16_t)(at[0] << 8 | at[1]);
}

/* *at: where IP begins. */
static bool flow_find_ip(enum layout layout, const uint8_t *body, uint32_t n,
			 uint32_t *at, uint16_t *type)
{
	bool ether = layout == LAYOUT_ETHER;

	*at = ether ? 14 : layout == LAYOUT_SLL2 ? 20 : 0;
	if (n <= *at || layout == LAYOUT_OTHER)
		return false;
	if (layout == LAYOUT_RAW) {
		*type = body[0] >> 4 == 4 ? TYPE_IPV4 : TYPE_IPV6;
		return true;
	}
	*type = flow_word(body + (ether ? 12 : 0));
	if (*type != TYPE_TAG && *type != TYPE_TAG_OUTER)
		return true;
	*at += TAG_BYTES;
	if (n < *at)
		return false;
	*type = flow_word(body + *at - 2);
	return true;
}

static bool find_ends(struct ends *e, int family, const uint8_t *ip,
		      uint32_t from, uint32_t to, uint32_t ports, uint32_t n)
{
	if (n < ports + PORTS_BYTES)
		return false;
	*e = (struct ends){family, ip + from, ip + to, flow_word(ip + ports),
			   flow_word(ip + ports + 2)};
	return true;
}

bool ends_of_packet(struct ends *e, enum layout layout, const uint8_t *body,
		    uint32_t n)
{
	uint32_t at;
	uint16_t type;

	if (!flow_find_ip(layout, body, n, &at, &type))
		return false;
	const uint8_t *ip = body + at;
	n -= at;
	if (type == TYPE_IPV4)
		return n >= 20 && ip[9] == IPPROTO_TCP &&
		       (flow_word(ip + 6) & 0x1fff) == 0 &&
		       find_ends(e, AF_INET, ip, 12, 16, (ip[0] & 0xfu) * 4, n);
	/* Our own connections have no extension headers. */
	return type == TYPE_IPV6 && n >= 40 && ip[6] == IPPROTO_TCP &&
	       find_ends(e, AF_INET6, ip, 8, 24, 40, n);
}

static size_t address_bytes(int family)
{
	return family == AF_INET ? 4 : 16;
}

bool flow_has(const struct flow *f, const struct ends *e)
{
	size_t n = address_bytes(f->family);

	if (f->family != e->family)
		return false;
	if (f->near_port == e->from_port && f->far_port == e->to_port &&
	    memcmp(f->near, e->from, n) == 0 && memcmp(f->far, e->to, n) == 0)
		return true;
	return f->near_port == e->to_port && f->far_port == e->from_port &&
	       memcmp(f->near, e->to, n) == 0 &&
	       memcmp(f->far, e->from, n) == 0;
}

static bool is_at(const struct flow *f, int family, const uint8_t *address)
{
	static const uint8_t any[16];
	size_t n = address_bytes(f->family);

	return memcmp(f->near, any, n) == 0 ||
	       (f->family == family && memcmp(f->near, address, n) == 0);
}

bool flow_begins_at(const struct flow *f, const struct ends *e)
{
	return (f->near_port == e->from_port && is_at(f, e->family, e->from)) ||
	       (f->near_port == e->to_port && is_at(f, e->family, e->to));
}
