/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * grpc.reflection, v1 and v1alpha, from the descriptors that are linked in.
 * Guarantees an answer a request, in order. Leaves out extensions (there are
 * none) and imports (a client asks for those by name). The descriptors are
 * walked as they lie: a set is a few kilobytes and this is asked for by people.
 */
#include "server/reflection.h"

#include "server/call.h"
#include "server/wire.h"

#include "grpc/reflection/v1/reflection.pb-c.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SERVICES_MAX 16
#define SYMBOL_MAX 512

typedef Grpc__Reflection__V1__ServerReflectionRequest Request;
typedef Grpc__Reflection__V1__ServerReflectionResponse Response;
typedef Grpc__Reflection__V1__FileDescriptorResponse FileResponse;
typedef Grpc__Reflection__V1__ListServiceResponse ListResponse;
typedef Grpc__Reflection__V1__ServiceResponse ServiceResponse;
typedef Grpc__Reflection__V1__ErrorResponse ErrorResponse;

#define REQUEST(x)                                                             \
	GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_##x
#define RESPONSE(x)                                                            \
	GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_##x

extern const unsigned char proto_descriptors[];
extern const unsigned long proto_descriptors_bytes;

/* --- a walk over an encoded message --- */

struct reflection_bytes {
	const uint8_t *at, *end;
};

/* 64 bits are ten bytes at most; our own descriptors are well formed, and
 * anything else ends the walk. */
static bool next_varint(struct reflection_bytes *b, uint64_t *n)
{
	*n = 0;
	for (unsigned shift = 0; b->at < b->end && shift < 64; shift += 7) {
		uint8_t byte = *b->at++;

		*n |= (uint64_t)(byte & 0x7f) << shift;
		if (!(byte & 0x80))
			return true;
	}
	return false;
}

/* The next field that is length-delimited; others are skipped. */
static bool next_field(struct reflection_bytes *b, unsigned *number,
		       struct reflection_bytes *field)
{
	uint64_t tag, n;

	while (next_varint(b, &tag) && next_varint(b, &n)) {
		if ((tag & 7) == 0)
			continue;
		if ((tag & 7) != 2 || n > (uint64_t)(b->end - b->at))
			return false;
		*number = (unsigned)(tag >> 3);
		*field = (struct reflection_bytes){b->at, b->at + n};
		b->at += n;
		return true;
	}
	return false;
}

/* The first field of that number; empty if there is none. */
static struct reflection_bytes reflection_get(struct reflection_bytes in,
					      unsigned wanted)
{
	struct reflection_bytes field;
	unsigned number;

	while (next_field(&in, &number, &field))
		if (number == wanted)
			return field;
	return (struct reflection_bytes){in.end, in.end};
}

/* --- descriptor.proto, as far as names go --- */

enum { FILE_NAME = 1, FILE_PACKAGE = 2, FILE_SERVICE = 6, NAME = 1 };

enum scope { OF_FILE, OF_MESSAGE, OF_ENUM, OF_SERVICE, LEAF };

/* The scope of what field `number` of a scope declares. */
static bool reflection_declares(enum scope in, unsigned number,
				enum scope *what)
{
	static const struct {
		enum scope in;
		unsigned number;
		enum scope what;
	} table[] = {
		{OF_FILE, 4, OF_MESSAGE},    {OF_FILE, 5, OF_ENUM},
		{OF_FILE, 6, OF_SERVICE},    {OF_MESSAGE, 2, LEAF},
		{OF_MESSAGE, 3, OF_MESSAGE}, {OF_MESSAGE, 4, OF_ENUM},
		{OF_MESSAGE, 8, LEAF},	     {OF_ENUM, 2, LEAF},
		{OF_SERVICE, 2, LEAF},
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		if (table[i].in == in && table[i].number == number) {
			*what = table[i].what;
			return true;
		}
	return false;
}

/* If `symbol` is `name` or goes on with a dot behind it: what is left. */
static const char *reflection_behind(const char *symbol,
				     struct reflection_bytes name)
{
	size_t n = (size_t)(name.end - name.at);

	if (n == 0 || strncmp(symbol, (const char *)name.at, n))
		return NULL;
	if (symbol[n] == '.')
		return symbol + n + 1;
	return symbol[n] ? NULL : symbol + n;
}

static bool has_symbol(struct reflection_bytes in, enum scope scope,
		       const char *symbol)
{
	struct reflection_bytes field;
	unsigned number;
	enum scope what;

	while (next_field(&in, &number, &field)) {
		if (!reflection_declares(scope, number, &what))
			continue;
		const char *rest =
			reflection_behind(symbol, reflection_get(field, NAME));
		if (rest && (!*rest || has_symbol(field, what, rest)))
			return true;
	}
	return false;
}

static bool file_has_symbol(struct reflection_bytes file, const char *symbol)
{
	const char *rest =
		reflection_behind(symbol, reflection_get(file, FILE_PACKAGE));

	return rest && *rest && has_symbol(file, OF_FILE, rest);
}

static bool file_has_name(struct reflection_bytes file, const char *name)
{
	const char *rest =
		reflection_behind(name, reflection_get(file, FILE_NAME));

	return rest && !*rest;
}

static struct reflection_bytes reflection_descriptors(void)
{
	return (struct reflection_bytes){
		proto_descriptors, proto_descriptors + proto_descriptors_bytes};
}

/* --- answers --- */

static void reflection_answer(struct call *c, Request *r, Response *a)
{
	a->valid_host = r->host;
	a->original_request = r;
	call_send(c, wire_pack(&a->base));
}

static void answer_error(struct call *c, Request *r, grpc_status_code code,
			 const char *text)
{
	Response a = GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__INIT;
	ErrorResponse error = GRPC__REFLECTION__V1__ERROR_RESPONSE__INIT;

	error.error_code = (int32_t)code;
	error.error_message = (char *)text;
	a.message_response_case = RESPONSE(ERROR_RESPONSE);
	a.error_response = &error;
	reflection_answer(c, r, &a);
}

static void answer_file(struct call *c, Request *r,
			bool (*wanted)(struct reflection_bytes file,
				       const char *name),
			const char *name)
{
	Response a = GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__INIT;
	FileResponse files =
		GRPC__REFLECTION__V1__FILE_DESCRIPTOR_RESPONSE__INIT;
	struct reflection_bytes all = reflection_descriptors(), file;
	unsigned number;

	while (next_field(&all, &number, &file)) {
		if (!wanted(file, name))
			continue;
		ProtobufCBinaryData data = {(size_t)(file.end - file.at),
					    (uint8_t *)file.at};
		files.n_file_descriptor_proto = 1;
		files.file_descriptor_proto = &data;
		a.message_response_case = RESPONSE(FILE_DESCRIPTOR_RESPONSE);
		a.file_descriptor_response = &files;
		reflection_answer(c, r, &a);
		return;
	}
	answer_error(c, r, GRPC_STATUS_NOT_FOUND,
		     "no file here has or declares that name");
}

/* Fills names[i] with package.Service of one file. */
static size_t services_of(struct reflection_bytes file,
			  char names[][SYMBOL_MAX], size_t n)
{
	struct reflection_bytes package = reflection_get(file, FILE_PACKAGE),
				field;
	unsigned number;

	while (n < SERVICES_MAX && next_field(&file, &number, &field)) {
		if (number != FILE_SERVICE)
			continue;
		struct reflection_bytes name = reflection_get(field, NAME);
		snprintf(names[n++], SYMBOL_MAX, "%.*s.%.*s",
			 (int)(package.end - package.at),
			 (const char *)package.at, (int)(name.end - name.at),
			 (const char *)name.at);
	}
	return n;
}

static void answer_services(struct call *c, Request *r)
{
	Response a = GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__INIT;
	ListResponse list = GRPC__REFLECTION__V1__LIST_SERVICE_RESPONSE__INIT;
	char names[SERVICES_MAX][SYMBOL_MAX];
	ServiceResponse services[SERVICES_MAX], *pointers[SERVICES_MAX];
	struct reflection_bytes all = reflection_descriptors(), file;
	unsigned number;
	size_t n = 0;

	while (next_field(&all, &number, &file))
		n = services_of(file, names, n);
	for (size_t i = 0; i < n; i++) {
		grpc__reflection__v1__service_response__init(&services[i]);
		services[i].name = names[i];
		pointers[i] = &services[i];
	}
	list.n_service = n;
	list.service = pointers;
	a.message_response_case = RESPONSE(LIST_SERVICES_RESPONSE);
	a.list_services_response = &list;
	reflection_answer(c, r, &a);
}

static void reflection_reflect(struct call *c, Request *r)
{
	switch (r->message_request_case) {
	case REQUEST(FILE_BY_FILENAME):
		answer_file(c, r, file_has_name, r->file_by_filename);
		break;
	case REQUEST(FILE_CONTAINING_SYMBOL):
		answer_file(c, r, file_has_symbol, r->file_containing_symbol);
		break;
	case REQUEST(LIST_SERVICES):
		answer_services(c, r);
		break;
	case REQUEST(FILE_CONTAINING_EXTENSION):
	case REQUEST(ALL_EXTENSION_NUMBERS_OF_TYPE):
		answer_error(c, r, GRPC_STATUS_NOT_FOUND,
			     "this API has no extensions");
		break;
	default:
		answer_error(c, r, GRPC_STATUS_INVALID_ARGUMENT,
			     "expected a kind of request that is known");
	}
}

void reflection_start(struct call *c)
{
	reflection_reflect(c, (Request *)c->request);
}

/* The next request is taken when the answer has left: what a client does not
 * read does not pile up here. */
void reflection_idle(struct call *c)
{
	call_receive(c);
}

void reflection_more(struct call *c, ProtobufCMessage *m)
{
	if (!m) {
		call_finish(c, GRPC_STATUS_OK, "", NULL);
		return;
	}
	reflection_reflect(c, (Request *)m);
	protobuf_c_message_free_unpacked(m, NULL);
}

void reflection_stop(struct call *c)
{
	call_finish(c, GRPC_STATUS_UNAVAILABLE, "pcapd is stopping", NULL);
}
