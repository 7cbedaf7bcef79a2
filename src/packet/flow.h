/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * flow: a TCP connection, and how it is recognised in a packet.
 *
 * What: for IPv4 and IPv6, untagged and one VLAN tag deep, the two addresses
 * and the two ports.
 * Threads: any.
 * Limits: a fragment that is not the first has no ports and is of no
 * connection; neither is what is in a tunnel, or cut off before its ports.
 */
#ifndef PCAPD_PACKET_FLOW_H
#define PCAPD_PACKET_FLOW_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

/* Addresses as on the wire, ports as numbers; an IPv4 one has 4 bytes. */
struct flow {
	int family; /* AF_INET, AF_INET6 */
	uint8_t near[16], far[16];
	uint16_t near_port, far_port;
};

/* Of an end that was made by accept or getsockname; false: it is no TCP. IPv4
 * in IPv6 is IPv4. */
bool flow_address(const struct sockaddr_storage *a, int *family,
		  uint8_t address[16], uint16_t *port);
/* "[::1]:2020 [::1]:40000": near, far. */
#define FLOW_TEXT 110
const char *flow_text(const struct flow *f, char out[FLOW_TEXT]);

/* Where a packet begins. */
enum layout {
	LAYOUT_OTHER,  /* with something that is not looked into */
	LAYOUT_ETHER,  /* with an Ethernet header */
	LAYOUT_SLL2,   /* with the header of cooked savefiles */
	LAYOUT_COOKED, /* with IP, and the kernel knows the EtherType */
	LAYOUT_RAW,    /* with IP */
};

#define TYPE_IPV4 0x0800
#define TYPE_IPV6 0x86dd
#define TYPE_TAG 0x8100
#define TYPE_TAG_OUTER 0x88a8

/* As stored: LAYOUT_OTHER for most, and LAYOUT_COOKED for none. */
enum layout layout_of_link_type(uint32_t link_type);

/* Of one packet of a connection; the addresses are in the packet. */
struct ends {
	int family;
	const uint8_t *from, *to;
	uint16_t from_port, to_port;
};

/* Of a packet as stored. false: it is of no connection. */
bool ends_of_packet(struct ends *e, enum layout layout, const uint8_t *body,
		    uint32_t n);
/* In either direction. */
bool flow_has(const struct flow *f, const struct ends *e);
/* One end is the near one, whatever the other is; a near address of zeros is
 * any. */
bool flow_begins_at(const struct flow *f, const struct ends *e);

#endif
