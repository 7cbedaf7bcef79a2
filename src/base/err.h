/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * err: what went wrong, in words a person can act on.
 *
 * What: a function that can fail returns false, NULL or -1 and fills the
 * struct err it was given. `what` says what was expected and what was given,
 * `hint` what to do about it. The kind decides the gRPC status and the exit
 * code, by one table, so that nobody branches on text.
 * Threads: a struct err belongs to one thread at a time.
 * Ownership: plain memory, nothing to free. e may not be NULL.
 */
#ifndef PCAPD_BASE_ERR_H
#define PCAPD_BASE_ERR_H

#include <stdbool.h>
#include <stddef.h>

enum err_kind {
	ERR_NONE,
	ERR_FAILED,	 /* I/O, memory, anything that is not the caller's */
	ERR_USAGE,	 /* the request itself is wrong */
	ERR_INCOMPLETE,	 /* done in part; what says which part */
	ERR_NOT_FOUND,	 /* no such capture, alias, interface */
	ERR_EXISTS,	 /* the name is taken */
	ERR_STATE,	 /* not now: already running, not stopped */
	ERR_PERMISSION,	 /* the operating system or a role says no */
	ERR_UNREACHABLE, /* no daemon, or it is going away */
	ERR_LIMIT,	 /* a bound was reached; what names it */
	ERR_CANCELLED,	 /* the caller went away */
	ERR_KINDS
};

/* What programs may have to tell apart within a kind. */
enum err_reason {
	REASON_OF_KIND,
	REASON_CAPTURE_NOT_FOUND,
	REASON_CAPTURE_RUNNING,
	REASON_CAPTURE_NOT_RUNNING,
	REASON_ALIAS_TAKEN,
	REASON_MARK_TAKEN,
	REASON_FILTER_INVALID,
	ERR_REASONS
};

struct err {
	enum err_kind kind;
	enum err_reason reason;
	int filter_at; /* REASON_FILTER_INVALID: 1 + the byte; 0: not known */
	char what[768];
	char hint[384];
};

#define ERR_INIT                                                               \
	{                                                                      \
		.kind = ERR_NONE                                               \
	}

/* Sets kind and what, clears the hint. Returns false, so that a caller can
 * write `return err_set(...)`. Text that does not fit is cut. */
bool err_set(struct err *e, enum err_kind kind, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* As err_set, with ": " and strerror(errno) behind; EACCES and EPERM become
 * ERR_PERMISSION, everything else ERR_FAILED. */
bool err_errno(struct err *e, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/*
 * "doing: out of memory", ERR_FAILED. Returns false.
 *
 * What happens when memory is out is the same everywhere. Who was asked for
 * something fails with this, and what there was stays as it was. What can be
 * done without (an index, a cache, a line of status) is left out, and the next
 * one tried again. Packets for which there is no block are dropped and counted.
 * What can neither fail nor be left out, as it stores packets or says that some
 * are missing, waits until there is memory; so a writer's rows do. Nothing of
 * pcapd aborts; of pcap a table does, which has nobody to tell.
 */
bool err_no_memory(struct err *e, const char *doing);

/* Puts "text: " before what there is. Returns false. */
bool err_wrap(struct err *e, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* Sets the hint. Returns false. */
bool err_hint(struct err *e, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* As err_set, of a reason, whose kind it knows. */
bool err_set_reason(struct err *e, enum err_reason reason, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* For programs: "CAPTURE_NOT_FOUND". */
const char *err_reason(const struct err *e);

/* The table. grpc_status is a google.rpc.Code. */
int err_grpc_status(enum err_kind kind);
enum err_kind err_from_grpc_status(int status);
int err_exit_code(enum err_kind kind);

#endif
