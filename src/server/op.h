/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * op: what gRPC gets as a tag, and gives back when an operation has ended.
 *
 * Threads: op_init before the operation, op_end on the completion-queue thread.
 * Ownership: embedded in what the operation is of.
 */
#ifndef PCAPD_SERVER_OP_H
#define PCAPD_SERVER_OP_H

#include <stdatomic.h>
#include <stdbool.h>

struct op {
	/* Stored last and loaded first: for the thread sanitizer, to which what
	 * gRPC does between its threads is nothing, that is their order. */
	void (*_Atomic done)(void *ctx, bool ok);
	void *ctx;
};

static inline void op_init(struct op *op, void (*done)(void *ctx, bool ok),
			   void *ctx)
{
	op->ctx = ctx;
	atomic_store_explicit(&op->done, done, memory_order_release);
}

/* gRPC gave it back. */
static inline void op_end(struct op *op, bool ok)
{
	void (*done)(void *ctx, bool ok) =
		atomic_load_explicit(&op->done, memory_order_acquire);

	done(op->ctx, ok);
}

#endif
