/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * methods_captures: the unary methods of captures, and what all methods check
 * of requests.
 *
 * Threads: a worker or a thread of the call; what looks at captures may wait.
 */
#ifndef PCAPD_SERVER_METHODS_CAPTURES_H
#define PCAPD_SERVER_METHODS_CAPTURES_H

#include "control/captures.h"

struct bpf_filter;
struct call;

/* Common checks of requests. */
/* It is a name, and the capture is there for the caller: who may not see it is
 * told that it is not there. */
bool check_capture(struct call *c, const char *name, struct err *e);
/* control_find for a stream of packets: from here on calls_restrict ends it. */
bool find_seen(struct call *c, const char *name, struct capture_view *v,
	       struct capture_tail **f, struct err *e);
/* control_list without what the caller may not see. */
bool list_seen(struct call *c, const char *name, struct capture_view **v,
	       size_t *n, struct err *e);
/* Names with blanks or commas between, as they are stored. */
bool check_people(const char *given, char people[PEOPLE_MAX + 1],
		  struct err *e);
/* As check_people gives them: each is a user or has a certificate. */
bool check_known(struct call *c, const char *people, struct err *e);
bool check_snaplen(uint32_t snaplen, struct err *e);
bool check_keep(uint64_t bytes, int64_t age_ns, struct err *e);
bool check_range(int64_t since_ns, int64_t until_ns, struct err *e);
/* The number that a page_token is; 0: "". */
bool page_token_parse(const char *token, int64_t *number, struct err *e);
/* A filter of the caller's, for packets in memory. It waits: on a thread of the
 * call. */
struct bpf_filter *call_filter(struct call *c, const char *text,
			       uint32_t link_type, uint32_t snaplen,
			       struct err *e);
/* The answer of every method that changes a capture: it, as field 1. v is
 * done. */
void answer_change(struct call *c, struct capture_view *v);

/* --- the methods, as method.h says --- */

void run_version(struct call *c);
void run_interfaces(struct call *c);
void run_init(struct call *c);
void run_start(struct call *c);
void run_stop(struct call *c);
void run_list(struct call *c);
void run_delete(struct call *c);
void run_add_alias(struct call *c);
void run_remove_alias(struct call *c);

#endif
