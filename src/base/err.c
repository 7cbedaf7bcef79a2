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
} table[] = {
	{ERR_NONE, 0, 0},	  {ERR_FAILED, 13, 1},
	{ERR_USAGE, 3, 2},	  {ERR_INCOMPLETE, 15, 3},
	{ERR_NOT_FOUND, 5, 4},	  {ERR_EXISTS, 6, 1},
	{ERR_STATE, 9, 1},	  {ERR_PERMISSION, 7, 5},
	{ERR_UNREACHABLE, 14, 6}, {ERR_LIMIT, 8, 1},
	{ERR_CANCELLED, 1, 1},
};

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
