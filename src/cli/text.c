/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Words for people, and the calls that most commands are. Guarantees that
 * every failure is said on stderr and becomes an exit code.
 */
#include "cli/cli.h"

#include "base/utf8.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

char *cli_plain(const char *text)
{
	size_t n = strlen(text);
	char *plain = malloc(4 * n + 1);

	if (!plain)
		abort(); /* memory is out */
	utf8_clean(plain, 4 * n + 1, text, n);
	return plain;
}

static void line_put(FILE *f, const char *fmt, va_list ap)
{
	char *text;

	if (vasprintf(&text, fmt, ap) < 0)
		abort(); /* memory is out */
	char *plain = cli_plain(text);
	fputs(plain, f);
	free(plain);
	free(text);
}

void cli_line(FILE *f, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	line_put(f, fmt, ap);
	va_end(ap);
	fputc('\n', f);
}

bool cli_agreed(const char *fmt, ...)
{
	char answer[16];
	va_list ap;

	va_start(ap, fmt);
	line_put(stderr, fmt, ap);
	va_end(ap);
	fputs(" [y/N] ", stderr);
	return fgets(answer, sizeof(answer), stdin) &&
	       (answer[0] == 'y' || answer[0] == 'Y');
}

int cli_fail(const struct err *e)
{
	fflush(stdout);
	cli_say("pcap: %s", e->what);
	if (e->hint[0])
		cli_say("      %s", e->hint);
	return err_exit_code(e->kind);
}

int cli_done(void)
{
	struct err e = ERR_INIT;

	if (fflush(stdout) == 0 && !ferror(stdout))
		return 0;
	if (errno == EPIPE)
		return 0;
	err_errno(&e, "write the result");
	return cli_fail(&e);
}

char *words_join(const struct words *w, int from)
{
	size_t n = 1;

	for (int i = from; i < w->n; i++)
		n += strlen(w->v[i]) + 1;
	char *text = calloc(1, n);
	if (!text)
		abort();
	for (int i = from; i < w->n; i++) {
		if (i > from)
			strcat(text, " ");
		strcat(text, w->v[i]);
	}
	return text;
}

bool number_parse(const char *what, const char *text, uint64_t min,
		  uint64_t max, uint64_t *value, struct err *e)
{
	char *end;

	errno = 0;
	uint64_t v = strtoull(text, &end, 10);
	if (isdigit((unsigned char)*text) && *end == '\0' && errno == 0 &&
	    v >= min && v <= max) {
		*value = v;
		return true;
	}
	if (max == UINT64_MAX)
		return err_set(e, ERR_USAGE,
			       "%s: expected a whole number from %" PRIu64
			       " on, not '%s'",
			       what, min, text);
	return err_set(e, ERR_USAGE,
		       "%s: expected a whole number from %" PRIu64
		       " to %" PRIu64 ", not '%s'",
		       what, min, max, text);
}

const char *size_text(uint64_t bytes, char out[SIZE_TEXT])
{
	static const char units[] = "KMGTPE";
	double n = (double)bytes;
	int u = -1;

	if (bytes < 1024) {
		snprintf(out, SIZE_TEXT, "%" PRIu64, bytes);
		return out;
	}
	while (n >= 1023.95 && u < 5) {
		n /= 1024;
		u++;
	}
	snprintf(out, SIZE_TEXT, "%.1f%c", n, units[u]);
	return out;
}

bool size_parse(const char *what, const char *text, uint64_t *bytes,
		struct err *e)
{
	static const char units[] = "KMGTP";
	char *end;

	if (strcmp(text, "none") == 0) {
		*bytes = 0;
		return true;
	}
	errno = 0;
	uint64_t n = strtoull(text, &end, 10);
	const char *unit =
		*end ? strchr(units, toupper((unsigned char)*end)) : NULL;
	unsigned shift = unit ? 10 * (unsigned)(unit - units + 1) : 0;
	const char *rest = end + (unit != NULL);
	bool whole = isdigit((unsigned char)*text) && errno == 0 &&
		     (!*rest || (unit && (strcmp(rest, "iB") == 0)));
	if (whole && n <= (uint64_t)INT64_MAX >> shift) {
		*bytes = n << shift;
		return true;
	}
	return err_set(e, ERR_USAGE,
		       "%s: expected bytes such as 500M, 200G or 1T, or none, "
		       "not '%s'",
		       what, text);
}

const char *span_text(int64_t ns, char out[SPAN_TEXT])
{
	static const struct {
		double seconds;
		const char *unit;
	} units[] = {{86400, "days"}, {3600, "h"}, {60, "min"}, {1, "s"}};
	double s = (double)ns / 1e9;
	size_t i = 0;

	if (s < 1) {
		snprintf(out, SPAN_TEXT, "%.0f ms", s * 1000);
		return out;
	}
	while (s < 1.95 * units[i].seconds && units[i].seconds > 1)
		i++;
	s /= units[i].seconds;
	int n = snprintf(out, SPAN_TEXT, s < 99.95 ? "%.1f" : "%.0f", s);
	if (n > 2 && strcmp(out + n - 2, ".0") == 0)
		n -= 2;
	snprintf(out + n, SPAN_TEXT - (size_t)n, " %s", units[i].unit);
	return out;
}

const char *capture_text(const Pcap__V1__Capture *c, char out[CAPTURE_TEXT])
{
	int n = snprintf(out, CAPTURE_TEXT, "%" PRIu64, c->id);

	for (size_t i = 0; i < c->n_aliases && n < CAPTURE_TEXT; i++)
		n += snprintf(out + n, CAPTURE_TEXT - n, "%s%s",
			      i ? ", " : " (", c->aliases[i]);
	if (c->n_aliases && n < CAPTURE_TEXT)
		snprintf(out + n, CAPTURE_TEXT - n, ")");
	return out;
}

const char *state_text(const Pcap__V1__Capture *c)
{
	static const char *const names[] = {"unknown", "stopped", "running",
					    "waiting", "importing"};
	unsigned i = (unsigned)c->state;

	return names[i < sizeof(names) / sizeof(names[0]) ? i : 0];
}

struct client *cli_connect(struct err *e)
{
	return client_open(target_address(), e);
}

ProtobufCMessage *cli_call(const char *method, const ProtobufCMessage *request,
			   struct err *e)
{
	struct client *c = cli_connect(e);

	if (!c)
		return NULL;
	ProtobufCMessage *m = client_call(c, method, request, e);
	client_close(c);
	return m;
}

static void change_say(const Pcap__V1__Capture *c, const char *done)
{
	char name[CAPTURE_TEXT];

	cli_say("%s %s", done, capture_text(c, name));
	if (c->state == PCAP__V1__CAPTURE__STATE__WAITING)
		cli_say("%s waits: %s", name, c->waiting_for);
}

/* The pointers that a field of m is, one or a list; none if it has no such
 * field. Every answer to a change has its captures first, then failures, and
 * then failed. */
static const void *answer_field(const ProtobufCMessage *m, unsigned i,
				size_t *n)
{
	const ProtobufCMessageDescriptor *d = m->descriptor;
	const char *base = (const char *)m;

	*n = 0;
	if (i >= d->n_fields)
		return NULL;
	const void *at = base + d->fields[i].offset;
	if (d->fields[i].label == PROTOBUF_C_LABEL_REPEATED) {
		*n = *(const size_t *)(base + d->fields[i].quantifier_offset);
		return *(const void *const *)at;
	}
	*n = *(const void *const *)at != NULL;
	return at;
}

int cli_change(const char *method, const ProtobufCMessage *request,
	       const char *done)
{
	struct err e = ERR_INIT;
	ProtobufCMessage *m = cli_call(method, request, &e);
	size_t n;
	int code = 0;

	if (!m)
		return cli_fail(&e);
	const Pcap__V1__Capture *const *captures = answer_field(m, 0, &n);
	for (size_t i = 0; i < n; i++)
		change_say(captures[i], done);
	const Pcap__V1__Failure *const *failed = answer_field(m, 2, &n);
	for (size_t i = 0; i < n; i++) {
		err_set(&e, err_from_grpc_status(failed[i]->code), "%s",
			failed[i]->message);
		err_hint(&e, "%s", failed[i]->hint);
		code = cli_fail(&e);
	}
	/* Of a pcapd that knows no others. */
	const char *const *failures = n ? NULL : answer_field(m, 1, &n);
	for (size_t i = 0; failures && i < n; i++) {
		err_set(&e, ERR_FAILED, "%s", failures[i]);
		code = cli_fail(&e);
	}
	protobuf_c_message_free_unpacked(m, NULL);
	return code;
}
