/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * JSON. Guarantees that what is printed is JSON whatever the daemon sent, also
 * for readers that know numbers only as doubles if they ask for strings.
 */
#include "cli/json.h"

#include "base/utf8.h"
#include "cli/cli.h"

#include <ctype.h>
#include <inttypes.h>
#include <string.h>

/* From here on a double is not every integer. */
#define EXACT_MAX (UINT64_C(1) << 53)

/* A field is a string or it is not: what is nanoseconds is one also when it is
 * few or 0, so that a reader needs no look at each. */
static bool json_is_string(const struct json *j, const char *name,
			   uint64_t size)
{
	size_t n = name ? strlen(name) : 0;

	return j->strings && (size > EXACT_MAX ||
			      (n > 3 && strcmp(name + n - 3, "_ns") == 0));
}

static void json_quote(FILE *f, const char *s)
{
	fputc('"', f);
	for (size_t left = strlen(s), n; left; s += n, left -= n) {
		uint32_t c = 0xfffd;

		n = utf8_decode(s, left, &c);
		if (n == 1 && (*s == '"' || *s == '\\'))
			fprintf(f, "\\%c", *s);
		else if (utf8_plain(s, left))
			fwrite(s, 1, n, f);
		else
			fprintf(f, "\\u%04x", n ? c : 0xfffd);
		n = n ? n : 1;
	}
	fputc('"', f);
}

/* The comma, the place and the name of the next value. Only what is outside of
 * every row gets a line of its own. */
static void json_name(struct json *j, const char *name)
{
	if (j->depth <= 2)
		fprintf(j->f, "%s\n%*s", j->more ? "," : "", 3 * (int)j->depth,
			"");
	else if (j->more)
		fputs(", ", j->f);
	j->more = true;
	if (name) {
		json_quote(j->f, name);
		fputs(": ", j->f);
	}
}

void json_open(struct json *j, const char *name, char bracket)
{
	json_name(j, name);
	fputc(bracket, j->f);
	j->depth++;
	j->more = false;
}

void json_close(struct json *j, char bracket)
{
	j->depth--;
	if (j->depth < 2 && j->more)
		fprintf(j->f, "\n%*s", 3 * (int)j->depth, "");
	fputc(bracket, j->f);
	j->more = true;
}

void json_begin(struct json *j, FILE *f, bool strings, bool nulls)
{
	*j = (struct json){
		.f = f, .strings = strings, .nulls = nulls, .depth = 1};
	fputc('{', f);
}

void json_end(struct json *j)
{
	j->more = true;
	json_close(j, '}');
	fputc('\n', j->f);
}

void json_text(struct json *j, const char *name, const char *text)
{
	json_name(j, name);
	if (!text || (!*text && j->nulls))
		fputs("null", j->f);
	else
		json_quote(j->f, text);
}

static void json_unsigned(struct json *j, const char *name, uint64_t value)
{
	const char *quote = json_is_string(j, name, value) ? "\"" : "";

	json_name(j, name);
	fprintf(j->f, "%s%" PRIu64 "%s", quote, value, quote);
}

void json_signed(struct json *j, const char *name, int64_t value)
{
	uint64_t size = value < 0 ? -(uint64_t)value : (uint64_t)value;
	const char *quote = json_is_string(j, name, size) ? "\"" : "";

	json_name(j, name);
	fprintf(j->f, "%s%" PRId64 "%s", quote, value, quote);
}

/* --- messages --- */

static void json_enum(struct json *j, const char *name,
		      const ProtobufCEnumDescriptor *d, int value)
{
	const ProtobufCEnumValue *v =
		value ? protobuf_c_enum_descriptor_get_value(d, value) : NULL;
	char text[64] = "unknown";

	for (size_t i = 0; v && i < sizeof(text) - 1; i++) {
		text[i] = (char)tolower((unsigned char)v->name[i]);
		text[i + 1] = '\0';
		if (!text[i])
			break;
	}
	json_text(j, name, text);
}

static void json_value(struct json *j, const char *name,
		       const ProtobufCFieldDescriptor *d, const void *at)
{
	switch (d->type) {
	case PROTOBUF_C_TYPE_STRING:
		json_text(j, name, *(char *const *)at);
		break;
	case PROTOBUF_C_TYPE_BOOL:
		json_name(j, name);
		fputs(*(const protobuf_c_boolean *)at ? "true" : "false", j->f);
		break;
	case PROTOBUF_C_TYPE_UINT32:
		json_unsigned(j, name, *(const uint32_t *)at);
		break;
	case PROTOBUF_C_TYPE_UINT64:
		json_unsigned(j, name, *(const uint64_t *)at);
		break;
	case PROTOBUF_C_TYPE_INT64:
	case PROTOBUF_C_TYPE_SINT64:
		json_signed(j, name, *(const int64_t *)at);
		break;
	case PROTOBUF_C_TYPE_ENUM:
		json_enum(j, name, d->descriptor, *(const int *)at);
		break;
	case PROTOBUF_C_TYPE_MESSAGE:
		json_open(j, name, '{');
		json_fields(j, *(ProtobufCMessage *const *)at, "");
		json_close(j, '}');
		break;
	default: /* bytes: nothing that is printed has them */
		json_text(j, name, NULL);
	}
}

static size_t json_size(const ProtobufCFieldDescriptor *d)
{
	switch (d->type) {
	case PROTOBUF_C_TYPE_UINT32:
	case PROTOBUF_C_TYPE_ENUM:
	case PROTOBUF_C_TYPE_BOOL:
		return 4;
	default:
		return 8;
	}
}

static bool json_is_set(const ProtobufCMessage *m,
			const ProtobufCFieldDescriptor *d)
{
	const char *at = (const char *)m;

	if (d->flags & PROTOBUF_C_FIELD_FLAG_ONEOF)
		return *(const uint32_t *)(at + d->quantifier_offset) == d->id;
	return d->type != PROTOBUF_C_TYPE_MESSAGE ||
	       d->label == PROTOBUF_C_LABEL_REPEATED ||
	       *(void *const *)(at + d->offset);
}

static bool json_is_named(const char *names, const char *name)
{
	size_t n = strlen(name);

	for (const char *p = names; (p = strstr(p, name)); p += n)
		if ((p == names || p[-1] == ' ') && (p[n] == ' ' || !p[n]))
			return true;
	return false;
}

void json_fields(struct json *j, const ProtobufCMessage *m,
		 const char *left_out)
{
	for (unsigned i = 0; i < m->descriptor->n_fields; i++) {
		const ProtobufCFieldDescriptor *d = &m->descriptor->fields[i];
		const char *at = (const char *)m + d->offset;

		if (json_is_named(left_out, d->name) || !json_is_set(m, d))
			continue;
		if (d->label != PROTOBUF_C_LABEL_REPEATED) {
			json_value(j, d->name, d, at);
			continue;
		}
		size_t n = *(const size_t *)((const char *)m +
					     d->quantifier_offset);
		const char *all = *(const char *const *)at;
		json_open(j, d->name, '[');
		for (size_t k = 0; k < n; k++)
			json_value(j, NULL, d, all + k * json_size(d));
		json_close(j, ']');
	}
}

bool json_message(const ProtobufCMessage *m, const char *left_out, bool nulls)
{
	struct json j;

	if (!cli_json())
		return false;
	json_begin(&j, stdout, cli_json() == JSON_STRINGS, nulls);
	json_fields(&j, m, left_out);
	json_end(&j);
	return true;
}

void json_messages(struct json *j, const char *name, size_t n, const void *all)
{
	ProtobufCMessage *const *messages = all;

	json_open(j, name, '[');
	for (size_t i = 0; i < n; i++) {
		json_open(j, NULL, '{');
		json_fields(j, messages[i], "");
		json_close(j, '}');
	}
	json_close(j, ']');
}
