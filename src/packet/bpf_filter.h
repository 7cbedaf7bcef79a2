/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * bpf_filter: a pcap-filter(7) expression, compiled.
 *
 * What: compile with libpcap, compare as programs, run over packets in
 * memory; and the two namings of link types, LINKTYPE_ (in files, ours) and
 * DLT_ (libpcap's handles).
 * Threads: any; a struct bpf_filter does not change once made.
 * Ownership: bpf_filter_compile and bpf_filter_from_program give,
 * bpf_filter_free takes.
 * Limits: BPF_FILTER_TEXT_MAX bytes of text, BPF_FILTER_INSNS_MAX instructions,
 * or less by bpf_filter_configure; and for texts over 1 KiB a bound on what
 * libpcap's optimizer is given, which would need minutes otherwise. Names are
 * looked up and may take their time.
 */
#ifndef PCAPD_PACKET_BPF_FILTER_H
#define PCAPD_PACKET_BPF_FILTER_H

#include "base/err.h"
#include "packet/block.h"

#include <pcap/pcap.h>

#define BPF_FILTER_TEXT_MAX 8192
#define BPF_FILTER_INSNS_MAX 4096 /* the kernel's BPF_MAXINSNS */

struct bpf_filter {
	struct bpf_program program;
};

/* New bounds, from then on: max-filter and max-filter-program. What a capture
 * was made with before goes on. */
void bpf_filter_configure(unsigned text_bytes, unsigned instructions);
void bpf_filter_bounds(unsigned *text_bytes, unsigned *instructions);
/* ERR_LIMIT: it is over one of them. f may be NULL. */
bool bpf_filter_fits(const char *text, const struct bpf_filter *f,
		     struct err *e);

/* For packets in memory of this link type. Empty text: a filter that takes
 * everything. ERR_USAGE with libpcap's message and the word it is about. */
struct bpf_filter *bpf_filter_compile(const char *text, uint32_t link_type,
				      uint32_t snaplen, struct err *e);
/* For the kernel, on an activated handle: VLAN tags and directions are
 * compiled as that handle needs them. */
struct bpf_filter *bpf_filter_compile_live(pcap_t *p, const char *text,
					   uint32_t netmask, struct err *e);
/* As bpf_filter_compile_live, for an Ethernet interface that is not there, and
 * has no netmask that could be known. */
struct bpf_filter *bpf_filter_compile_absent(const char *text, uint32_t snaplen,
					     struct err *e);
/* Whether pcap-filter(7) takes this word for a name, and not for a word of its
 * own, a number or an address. Looks nothing up. */
bool bpf_filter_is_name(const char *word);
/* From bpf_filter_bytes, and checked. */
struct bpf_filter *bpf_filter_from_program(const void *bytes, size_t n,
					   struct err *e);
void bpf_filter_free(struct bpf_filter *f);

/* The program's bytes, struct bpf_insn after struct bpf_insn: what the catalog
 * keeps to tell whether two expressions are the same filter. */
const void *bpf_filter_bytes(const struct bpf_filter *f, size_t *n);

static inline bool bpf_filter_matches(const struct bpf_filter *f,
				      const struct packet_head *h,
				      const uint8_t *body)
{
	return bpf_filter(f->program.bf_insns, body, h->len, h->caplen) != 0;
}

/* libpcap's own mapping, asked through a savefile header. */
uint32_t link_type_of_dlt(int dlt);
int dlt_of_link_type(uint32_t link_type);

#endif
