/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * google.rpc.Status: an ErrorInfo always, and a BadRequest for a filter, which
 * says where it is wrong. Leaves out other fields of requests: their errors
 * name them in words.
 */
#include "server/status_details.h"

#include "google/rpc/status_details.pb-c.h"

#include <assert.h>
#include <stdio.h>

#define TYPE "type.googleapis.com/google.rpc."
#define DETAIL_MAX 1024

typedef Google__Rpc__ErrorInfo__MetadataEntry Entry;
typedef Google__Rpc__BadRequest__FieldViolation Violation;

struct detail {
	Google__Rpc__Detail message;
	uint8_t bytes[DETAIL_MAX];
};

static void detail_pack(struct detail *d, const char *type,
			const ProtobufCMessage *m)
{
	assert(protobuf_c_message_get_packed_size(m) <= sizeof(d->bytes));
	google__rpc__detail__init(&d->message);
	d->message.type_url = (char *)type;
	d->message.value.data = d->bytes;
	d->message.value.len = protobuf_c_message_pack(m, d->bytes);
}

static void detail_info(struct detail *d, int status, const struct err *e)
{
	Google__Rpc__ErrorInfo m = GOOGLE__RPC__ERROR_INFO__INIT;
	Entry at = GOOGLE__RPC__ERROR_INFO__METADATA_ENTRY__INIT;
	Entry *list[] = {&at};
	char number[12];

	/* Of a status that is no kind's. */
	m.reason = err_grpc_status(e->kind) == status ? (char *)err_reason(e)
						      : "UNIMPLEMENTED";
	m.domain = "pcapd";
	if (e->filter_at) {
		snprintf(number, sizeof(number), "%d", e->filter_at - 1);
		at.key = "filter_byte";
		at.value = number;
		m.n_metadata = 1;
		m.metadata = list;
	}
	detail_pack(d, TYPE "ErrorInfo", &m.base);
}

static void detail_filter(struct detail *d, const struct err *e)
{
	Google__Rpc__BadRequest m = GOOGLE__RPC__BAD_REQUEST__INIT;
	Violation filter = GOOGLE__RPC__BAD_REQUEST__FIELD_VIOLATION__INIT;
	Violation *list[] = {&filter};
	char text[sizeof(e->what) + 24];

	if (e->filter_at)
		snprintf(text, sizeof(text), "at byte %d: %s", e->filter_at - 1,
			 e->what);
	filter.field = "filter";
	filter.description = e->filter_at ? text : (char *)e->what;
	m.n_field_violations = 1;
	m.field_violations = list;
	detail_pack(d, TYPE "BadRequest", &m.base);
}

grpc_slice status_details(int status, const struct err *e)
{
	Google__Rpc__Status m = GOOGLE__RPC__STATUS__INIT;
	struct detail info, filter;
	Google__Rpc__Detail *list[] = {&info.message, &filter.message};

	m.code = status;
	m.message = (char *)e->what;
	m.details = list;
	m.n_details = 1;
	detail_info(&info, status, e);
	if (e->reason == REASON_FILTER_INVALID) {
		detail_filter(&filter, e);
		m.n_details = 2;
	}
	grpc_slice s =
		grpc_slice_malloc(google__rpc__status__get_packed_size(&m));
	google__rpc__status__pack(&m, GRPC_SLICE_START_PTR(s));
	return s;
}
