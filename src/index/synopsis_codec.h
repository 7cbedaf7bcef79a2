/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * synopsis_codec: a synopsis as bytes.
 *
 * Ownership: synopsis_read gives, synopsis_free takes.
 * Limits: synopsis_read takes at most SYNOPSIS_BYTES_MAX bytes from anyone and
 * makes 4 bytes of each at most.
 */
#ifndef PCAPD_INDEX_SYNOPSIS_CODEC_H
#define PCAPD_INDEX_SYNOPSIS_CODEC_H

#include "base/err.h"
#include "index/synopsis.h"

#include <stddef.h>

#define SYNOPSIS_BYTES_MAX (1u << 20)

/* Makes sets coarser, the largest and the lesser first, until synopsis_write
 * needs at most max_bytes. false: not even then. */
bool synopsis_fit(struct synopsis *s, size_t max_bytes);
size_t synopsis_bytes(const struct synopsis *s);
/* to has room for synopsis_bytes(s). */
void synopsis_write(const struct synopsis *s, uint8_t *to);
/* NULL: version or content are not as synopsis_write makes them. */
struct synopsis *synopsis_read(const uint8_t *from, size_t n, struct err *e);
/* As synopsis_read, for who asks only about the words i of classes c that have
 * bit i in need[c]: the others are "any", and what they are is not looked at.
 */
struct synopsis *synopsis_read_some(const uint8_t *from, size_t n,
				    const uint32_t need[SYNOPSIS_CLASSES],
				    struct err *e);

#endif
