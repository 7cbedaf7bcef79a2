/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * proxy_protocol: who is behind `pcap proxy`, by the line that it sends first.
 *
 * Threads: any. proxy_protocol_is_real asks the kernel, which answers at once.
 * Ownership: plain memory.
 */
#ifndef PCAPD_SERVER_PROXY_PROTOCOL_H
#define PCAPD_SERVER_PROXY_PROTOCOL_H

#include "packet/flow.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PROXIED_LINE_MAX 107 /* of the PROXY protocol, version 1 */

struct proxy_protocol {
	int family;
	uint8_t client[16], server[16];
	uint16_t client_port, server_port;
};

/* The length of the line in front, 0 there is none, -1 not known yet. */
int proxy_protocol_line(const char *bytes, size_t n);
/* false: it names no connection. */
bool proxy_protocol_parse(const char *line, size_t n, struct proxy_protocol *p);
/* The kernel has it, it is root's, and root listens at its near port, as the
 * ssh daemon does. */
bool proxy_protocol_is_real(const struct proxy_protocol *p);
struct flow proxy_protocol_flow(const struct proxy_protocol *p);
void proxy_protocol_text(const struct proxy_protocol *p, char *out,
			 size_t room);

#endif
