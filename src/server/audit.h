/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * audit: the rows that a call leaves in the audit, and the method Audit.
 *
 * Threads: each function says on which.
 */
#ifndef PCAPD_SERVER_AUDIT_H
#define PCAPD_SERVER_AUDIT_H

struct call;
struct err;
struct peer;

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
