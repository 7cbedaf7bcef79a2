/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * wire: messages and bytes.
 *
 * Threads: any.
 * Ownership: what is made is the caller's, but for where it points into what it
 * was made of.
 */
#ifndef PCAPD_SERVER_WIRE_H
#define PCAPD_SERVER_WIRE_H

#include "control/captures.h"
#include "packet/block.h"

#include <grpc/byte_buffer.h>
#include <protobuf-c/protobuf-c.h>

#include "pcap/v1/pcap.pb-c.h"

#define WIRE_HEAD_MAX 64
/* A message takes twice its bytes and this, at most. */
#define WIRE_ROOM (16u << 10)

grpc_byte_buffer *wire_pack(const ProtobufCMessage *m);
/* NULL: it is no such message, or takes too much; text must be UTF-8. To be
 * freed without an allocator. */
ProtobufCMessage *wire_unpack(const ProtobufCMessageDescriptor *d,
			      grpc_byte_buffer *bytes, struct err *e);
/* Everything of ReplayResponse{Packets} up to the data. Returns its length. */
struct packets_head {
	uint64_t count, blocks_done;
	uint64_t zstd_raw_bytes; /* 0: the data is not compressed */
	uint64_t beside_bytes;	 /* 0: the data is here */
	uint64_t data_bytes;
};
size_t wire_packets_head(uint8_t out[WIRE_HEAD_MAX],
			 const struct packets_head *h);
/* Takes over the slice's reference; a slice without a block has no data. */
grpc_byte_buffer *wire_packets(const struct slice *s, uint64_t blocks_done);
/* A block's frame: takes over the reference of the one whose arena it is in;
 * NULL: it goes over the data connection. */
grpc_byte_buffer *wire_frame(const struct block_info *info,
			     struct block *inside, uint64_t blocks_done);
/* For the header of a stream: no packet of it is larger. asked: the client's,
 * or 0. live: with what comes from here on. */
uint32_t wire_snaplen(const struct capture_view *v, uint32_t asked, bool live);
grpc_byte_buffer *wire_header(const struct capture_view *v, uint32_t link_type,
			      uint32_t snaplen, uint64_t blocks);
grpc_byte_buffer *wire_lost(uint64_t packets, const char *reason);
grpc_byte_buffer *wire_end(const Pcap__V1__End *end);
/* Points into v and aliases of v. */
void wire_capture(Pcap__V1__Capture *m, const struct capture_view *v);
/* A Coverage with at most max_rows rows: all in one allocation, to free().
 * Points into c. NULL: *e. */
Pcap__V1__Coverage *wire_coverage(const struct coverage *c, size_t max_rows,
				  struct err *e);

/* --- the link type of a stream --- */

/* A stream is a savefile, which has one link type. */
#define LOST_LINK_TYPE "link type changed"
#define LINK_UNKNOWN 1 /* in the header of a stream without packets */
/* An interface that was never there has none. 0 is one: LINKTYPE_NULL. */
static inline bool link_known(const struct capture_row *r)
{
	return r->link_type != 0 || r->savefile;
}

#endif
