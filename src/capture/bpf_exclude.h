/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * bpf_exclude: instructions behind a capture's own filter that let little of
 * some TCP connections through.
 *
 * What: of what the filter takes, for IPv4 and IPv6, both directions, untagged
 * and one VLAN tag deep, the two addresses and the two ports together; all else
 * is taken as the filter says, also what is too short to tell. Of a packet of
 * these connections EXCLUDED_SNAPLEN bytes come, so that it can be counted by
 * whom it would have been taken, and nothing at all if the filter takes less.
 * Threads: any.
 * Limits: a fragment that is not the first has no ports and is not left out;
 * neither is a connection in a tunnel. A program has BPF_FILTER_INSNS_MAX
 * instructions: 14 for an IPv4 connection, 38 for one of IPv6.
 */
#ifndef PCAPD_CAPTURE_BPF_EXCLUDE_H
#define PCAPD_CAPTURE_BPF_EXCLUDE_H

#include "capture/own_connections.h"
#include "packet/bpf_filter.h"

/* Enough for the headers up to the ports. */
#define EXCLUDED_SNAPLEN 96

/* layout: as the kernel sees it. own: the filter; with n_own 0 everything is
 * taken. Returns the length; 0: that is more than BPF_FILTER_INSNS_MAX. */
unsigned bpf_exclude_build(const struct flow *flows, unsigned n,
			   enum layout layout, const struct bpf_insn *own,
			   unsigned n_own,
			   struct bpf_insn out[BPF_FILTER_INSNS_MAX]);

/* The filter that a socket has, to be kept; 0: none, -1: not known. */
int bpf_exclude_read(int fd, struct bpf_insn out[BPF_FILTER_INSNS_MAX]);
/* In its place, and between two packets: none is lost, none is let through. */
bool bpf_exclude_attach(int fd, const struct bpf_insn *program, unsigned n);

#endif
