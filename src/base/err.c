/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Errors as data. Guarantees that text is always terminated and that every
 * kind has a gRPC status and an exit code. Leaves out translation.
 */
#include "base/err.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Statuses: google/rpc/code.proto. Exit codes: pcap(1). The first kind with a
 * status is the one that a status turns back into. */
static const struct {
	enum err_kind kind;
	int grpc_status;
	int exit_code;
	const char *reason;
} table[] = {
	{ERR_NONE, 0, 0, ""},
	{ERR_FAILED, 13, 1, "INTERNAL"},
	{ERR_USAGE, 3, 2, "INVALID_REQUEST"},
	{ERR_INCOMPLETE, 15, 3, "INCOMPLETE"},
	{ERR_NOT_FOUND, 5, 4, "NOT_FOUND"},
	{ERR_EXISTS, 6, 1, "EXISTS"},
	{ERR_STATE, 9, 1, "WRONG_STATE"},
	{ERR_PERMISSION, 7, 5, "NOT_PERMITTED"},
	{ERR_UNREACHABLE, 14, 6, "STOPPING"},
	{ERR_LIMIT, 8, 1, "LIMIT_REACHED"},
	{ERR_CANCELLED, 1, 1, "CANCELLED"},
};

static const struct {
	enum err_kind kind;
	const char *text;
} reasons[] = {
	[REASON_CAPTURE_NOT_FOUND] = {ERR_NOT_FOUND, "CAPTURE_NOT_FOUND"},
	[REASON_CAPTURE_RUNNING] = {ERR_STATE, "CAPTURE_RUNNING"},
	[REASON_CAPTURE_NOT_RUNNING] = {ERR_STATE, "CAPTURE_NOT_RUNNING"},
	[REASON_ALIAS_TAKEN] = {ERR_EXISTS, "ALIAS_TAKEN"},
	[REASON_MARK_TAKEN] = {ERR_EXISTS, "MARK_TAKEN"},
	[REASON_FILTER_INVALID] = {ERR_USAGE, "FILTER_INVALID"},
};

_Static_assert(sizeof(reasons) / sizeof(reasons[0]) == ERR_REASONS,
	       "every reason has a row");

_Static_assert(sizeof(table) / sizeof(table[0]) == ERR_KINDS,
	       "every kind has a row");

bool err_set(struct err *e, enum err_kind kind, const char *fmt, ...)
{
	struct err made = {.kind = kind};
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(made.what, sizeof(made.what), fmt, ap);
	va_end(ap);
	*e = made;
	return false;
}

bool err_set_reason(struct err *e, enum err_reason reason, const char *fmt, ...)
{
	struct err made = {.kind = reasons[reason].kind, .reason = reason};
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(made.what, sizeof(made.what), fmt, ap);
	va_end(ap);
	*e = made;
	return false;
}

bool err_errno(struct err *e, const char *fmt, ...)
{
	int no = errno;
	bool denied = no == EACCES || no == EPERM;
	struct err made = {.kind = denied ? ERR_PERMISSION : ERR_FAILED};
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(made.what, sizeof(made.what), fmt, ap);
	va_end(ap);
	size_t n = strlen(made.what);
	snprintf(made.what + n, sizeof(made.what) - n, ": %s", strerror(no));
	*e = made;
	return false;
}

bool err_no_memory(struct err *e, const char *doing)
{
	return err_set(e, ERR_FAILED, "%s: out of memory", doing);
}

bool err_wrap(struct err *e, const char *fmt, ...)
{
	char inner[sizeof(e->what)];
	va_list ap;

	memcpy(inner, e->what, sizeof(inner));
	va_start(ap, fmt);
	vsnprintf(e->what, sizeof(e->what), fmt, ap);
	va_end(ap);
	size_t n = strlen(e->what);
	snprintf(e->what + n, sizeof(e->what) - n, ": %s", inner);
	return false;
}

bool err_hint(struct err *e, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(e->hint, sizeof(e->hint), fmt, ap);
	va_end(ap);
	return false;
}

const char *err_reason(const struct err *e)
{
	return e->reason ? reasons[e->reason].text : table[e->kind].reason;
}

int err_grpc_status(enum err_kind kind)
{
	assert(kind < ERR_KINDS && table[kind].kind == kind);
	return table[kind].grpc_status;
}

enum err_kind err_from_grpc_status(int status)
{
	for (size_t i = 0; i < ERR_KINDS; i++)
		if (table[i].grpc_status == status)
			return table[i].kind;
	return ERR_FAILED;
}

int err_exit_code(enum err_kind kind)
{
	assert(kind < ERR_KINDS && table[kind].kind == kind);
	return table[kind].exit_code;
}
