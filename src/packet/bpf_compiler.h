/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * bpf_compiler: filters compiled in processes beside, with a deadline.
 *
 * What: compiling can take long (libpcap's optimizer is quadratic, names of
 * hosts wait for name servers), and libpcap cannot be told to stop. So each
 * filter is compiled in a process of its own, which is ended at the deadline.
 * Two processes that were made before there were threads make them: one of
 * those can open no socket, so that no name of a host leaves the machine; the
 * other looks names up, for operators, and only when the first one failed.
 * What was compiled for packets in memory is kept: bpf_cache.h.
 * Threads: bpf_compiler_start before there are any, bpf_compiler_ready
 * once; bpf_compiler_run from any, with no lock held: it waits.
 * Ownership: bpf_compiler_run gives, bpf_filter_free takes.
 * Limits: FILTER_COMPILE_NS; FILTER_COMPILE_MAX of viewers at once, as many of
 * operators, for interfaces, and with names, half of each with long texts, and
 * one person half of that; who comes then waits within the deadline.
 * FILTER_COMPILE_BYTES of memory each.
 */
#ifndef PCAPD_PACKET_BPF_COMPILER_H
#define PCAPD_PACKET_BPF_COMPILER_H

#include "base/clock.h"
#include "packet/bpf_filter.h"

/* From the request on. Hundreds of hosts keep libpcap's optimizer busy for some
 * 10 s. */
#define FILTER_COMPILE_NS (20 * NS_PER_S)
#define FILTER_COMPILE_LONG_NS (60 * NS_PER_S) /* of a text over 1 KiB */
#define FILTER_COMPILE_MAX 4
#define FILTER_COMPILE_BYTES (1ull << 30)

/* IFNAMSIZ, or the longer name of a device that is no network interface. */
#define FILTER_INTERFACE_MAX 64

struct filter_request {
	const char *text;
	uint32_t link_type, snaplen;
	/* NULL: for packets in memory. Else for the kernel, as this interface
	 * needs it; the link type is the interface's. */
	const char *interface;
	bool absent;   /* it is not there: as an Ethernet one would need it */
	bool operator; /* names of hosts are looked up */
	/* Whose it is: one has half of the processes. NULL: nobody's. */
	const void *person;
	/* Asked from time to time; false: nobody waits any more. NULL: yes. */
	bool (*go_on)(void *ctx);
	void *ctx;
};

/* Opens an interface and compiles for it; libpcap's handles are not known
 * here. */
typedef struct bpf_filter *filter_compile_on(const char *interface,
					     const char *text, uint32_t snaplen,
					     uint32_t *link_type,
					     struct err *e);

/* In a new process: gives up what it has no use for. names: it looks them up;
 * otherwise it may open no socket. */
typedef bool filter_confine(void *ctx, bool names, struct err *e);

/* Without this call, as in tests, everything is compiled in place. */
bool bpf_compiler_start(filter_compile_on *on, filter_confine *confine,
			void *ctx, struct err *e);
/* Before the first bpf_compiler_run: both are there and have given up what
 * they should. They do so at the same time, and beside the caller. */
bool bpf_compiler_ready(struct err *e);
bool bpf_compiler_runs(void);
/*
 * *link_type: that it was compiled for. As bpf_filter_compile; besides
 * ERR_LIMIT: the deadline is over, ERR_CANCELLED: go_on said so.
 */
struct bpf_filter *bpf_compiler_run(const struct filter_request *q,
				    uint32_t *link_type, struct err *e);

#endif
