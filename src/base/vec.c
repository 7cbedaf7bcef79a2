/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Arrays that grow. Guarantees that an element costs a constant on average, and
 * that none is written where there is no room.
 */
#include "base/vec.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

void *vec_push_bytes(void *all, size_t *n, size_t size)
{
	size_t count = *n;
	char *v;

	memcpy(&v, all, sizeof(v)); /* a pointer to whatever they are */
	if ((count & (count - 1)) == 0) {
		size_t room = count ? 2 * count : 1;

		v = room > SIZE_MAX / size ? NULL : realloc(v, room * size);
		if (!v)
			return NULL;
		memcpy(all, &v, sizeof(v));
	}
	*n = count + 1;
	return memset(v + count * size, 0, size);
}
