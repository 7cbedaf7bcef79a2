/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A status by hand. Guarantees that each stream of a client is answered with
 * trailers alone (RFC 9113; gRPC over HTTP/2: "Trailers-Only"), and that a
 * client costs a few kilobytes. Leaves out everything that a client may send
 * beside calls: that is read and forgotten.
 */
#include "server/refusal.h"

#include "base/base64.h"
#include "server/proxy_protocol.h"
#include "server/status_details.h"
#include "server/text.h"

#include <stdio.h>
#include <string.h>

enum { TYPE_HEADERS = 1, TYPE_SETTINGS = 4, TYPE_CONTINUATION = 9 };
#define FLAG_ACK 0x1
#define FLAG_END_STREAM 0x1
#define FLAG_END_HEADERS 0x4
/* Between commands of the UNIX socket and gRPC: "PROXY ...\r\n". */
#define LINE_FIRST "PRO"

static const uint8_t no_stream[4];

static void refusal_frame(struct refusal *r, uint8_t type, uint8_t flags,
			  const uint8_t stream[4], const uint8_t *bytes,
			  size_t n)
{
	uint8_t *at = r->out + r->n_out;

	if (r->n_out + 9 + n > sizeof(r->out))
		return;
	at[0] = (uint8_t)(n >> 16);
	at[1] = (uint8_t)(n >> 8);
	at[2] = (uint8_t)n;
	at[3] = type;
	at[4] = flags;
	memcpy(at + 5, stream, 4);
	if (n)
		memcpy(at + 9, bytes, n);
	r->n_out += 9 + n;
}

/* HPACK: the length of a string, without Huffman's code. */
static void refusal_length(struct refusal *r, size_t n)
{
	uint8_t *at = r->status + r->n_status;

	if (n < 127) {
		*at++ = (uint8_t)n;
	} else {
		*at++ = 127;
		for (n -= 127; n >= 128; n >>= 7)
			*at++ = (uint8_t)(n | 128);
		*at++ = (uint8_t)n;
	}
	r->n_status = (size_t)(at - r->status);
}

static void refusal_field(struct refusal *r, const char *name,
			  const char *value)
{
	const char *both[] = {name, value};

	if (r->n_status + strlen(name) + strlen(value) + 8 > sizeof(r->status))
		return;
	r->status[r->n_status++] = 0; /* a literal that no table keeps */
	for (int i = 0; i < 2; i++) {
		size_t n = strlen(both[i]);

		refusal_length(r, n);
		memcpy(r->status + r->n_status, both[i], n);
		r->n_status += n;
	}
}

/* gRPC encodes those of a call itself. */
static void refusal_details(struct refusal *r, const struct err *why)
{
	grpc_slice bytes = status_details(err_grpc_status(why->kind), why);
	size_t n = GRPC_SLICE_LENGTH(bytes);
	char text[REFUSAL_STATUS_MAX];

	if (BASE64_ROOM(n) > sizeof(text))
		n = 0;
	base64(text, GRPC_SLICE_START_PTR(bytes), n);
	refusal_field(r, STATUS_DETAILS_KEY, text);
	grpc_slice_unref(bytes);
}

void refusal_init(struct refusal *r, const struct err *why)
{
	char text[3 * sizeof(why->what) + 1], number[12];

	memset(r, 0, sizeof(*r));
	r->status[r->n_status++] = 0x88; /* :status 200 */
	refusal_field(r, "content-type", "application/grpc");
	snprintf(number, sizeof(number), "%d", err_grpc_status(why->kind));
	refusal_field(r, "grpc-status", number);
	text_percent(text, sizeof(text), why->what);
	refusal_field(r, "grpc-message", text);
	refusal_details(r, why);
	if (!why->hint[0])
		return;
	text_percent(text, sizeof(text), why->hint);
	refusal_field(r, "pcap-hint", text);
}

/* A frame is over. */
static void refusal_answer(struct refusal *r)
{
	uint8_t type = r->head[3], flags = r->head[4];

	if (type == TYPE_SETTINGS && !(flags & FLAG_ACK))
		refusal_frame(r, TYPE_SETTINGS, FLAG_ACK, no_stream, NULL, 0);
	if ((type != TYPE_HEADERS && type != TYPE_CONTINUATION) ||
	    !(flags & FLAG_END_HEADERS))
		return;
	refusal_frame(r, TYPE_HEADERS, FLAG_END_STREAM | FLAG_END_HEADERS,
		      r->head + 5, r->status, r->n_status);
	r->n_calls++;
}

static size_t refusal_frames(struct refusal *r, const uint8_t *bytes, size_t n)
{
	size_t at = 0;

	if (r->n_head < sizeof(r->head)) {
		r->head[r->n_head++] = bytes[at++];
		r->left = (uint32_t)r->head[0] << 16 |
			  (uint32_t)r->head[1] << 8 | r->head[2];
		if (r->n_head < sizeof(r->head))
			return at;
	}
	size_t some = r->left < n - at ? r->left : n - at;
	r->left -= (uint32_t)some;
	if (!r->left) {
		refusal_answer(r);
		r->n_head = 0;
	}
	return at + some;
}

/* false: neither the preface nor a line before it. Our SETTINGS come after
 * the peer's preface: who asks for a data connection hears nothing. */
static bool refusal_preface(struct refusal *r, uint8_t byte)
{
	static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
	unsigned at = r->n_preface++;

	if (r->state == REFUSAL_LINE && at >= strlen(LINE_FIRST)) {
		if (byte == '\n') {
			r->state = REFUSAL_PREFACE;
			r->n_preface = 0;
		}
		return at < PROXIED_LINE_MAX;
	}
	if (at == strlen(LINE_FIRST) - 1 && r->state == REFUSAL_LINE) {
		if (byte == (uint8_t)LINE_FIRST[at])
			return true;
		r->state = REFUSAL_PREFACE;
	}
	if (byte != (uint8_t)preface[at])
		return false;
	if (at + 2 == sizeof(preface)) {
		r->state = REFUSAL_FRAMES;
		refusal_frame(r, TYPE_SETTINGS, 0, no_stream, NULL, 0);
	}
	return true;
}

bool refusal_take(struct refusal *r, const uint8_t *bytes, size_t n)
{
	size_t at = 0;

	r->taken += (uint32_t)n;
	if (n > REFUSAL_TAKES || r->taken > REFUSAL_TAKES)
		return false;
	while (at < n && r->n_calls < REFUSAL_CALLS) {
		if (r->state == REFUSAL_FRAMES)
			at += refusal_frames(r, bytes + at, n - at);
		else if (!refusal_preface(r, bytes[at++]))
			return false;
	}
	return r->n_calls < REFUSAL_CALLS;
}
