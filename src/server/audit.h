/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * audit: the rows that a call leaves in the audit, and the method Audit.
 *
 * Threads: each function says on which.
 */
#ifndef PCAPD_SERVER_AUDIT_H
#define PCAPD_SERVER_AUDIT_H

#include "base/err.h"
#include "store/store.h"

struct call;
struct peer;

/* What of a call its row will say. Under the call's lock. */
struct call_audit {
	uint64_t id;	/* 0: there is no row */
	uint64_t bytes; /* of messages and frames */
	int64_t began_ns;
	char people[PEOPLE_MAX + 1]; /* who might see its capture */
	enum err_kind outcome; /* of an answer that is not all good, and why */
	char outcome_text[192];
	bool closed; /* audit_end was called */
};

/* Rows of refusals in a while. Under the server's lock. */
struct audit_refusals {
	int64_t since_ns;
	unsigned n;
};

/* It has a request, and runs. Not on the completion-queue thread. */
void audit_begin(struct call *c);
/* Its answer says that not all was done: so does its row. ERR_NONE: all was. */
void audit_outcome(struct call *c, const struct err *e);
/* It is over. */
void audit_end(struct call *c);
/* Of a connection that gRPC never has. */
void audit_refused(struct peer *c);
void run_audit(struct call *c);

#endif
