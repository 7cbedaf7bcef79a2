/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * salvage: a catalog that cannot be read whole is made again. Private to this
 * folder and to fsck/.
 *
 * What: a new file gets every row that can be read of the old one, which is
 * kept under another name. What is missing then is taken from the segments and
 * the files beside them, as of a catalog that is older than the spool.
 * Threads: one, before the catalog is opened; salvage_mark: any.
 */
#ifndef PCAPD_STORE_SALVAGE_H
#define PCAPD_STORE_SALVAGE_H

#include "base/err.h"

#include <sqlite3.h>
#include <stdbool.h>

#define SALVAGE_LINE_MAX 512

/* The next start makes it again. */
void salvage_mark(int spool_fd);
bool salvage_is_marked(int spool_fd);
/* SQLite does not write what a newer one wrote: byte 18 of the header. */
bool salvage_is_read_only(const char *path);
/* What salvage_catalog did not look at of a large one; while it is in use. */
bool salvage_is_malformed(sqlite3 *db);
/* Looks at as much as a start has time for; path: catalog.db in the spool.
 * captures: there are some, so that it must not be missing. line:
 * what was done, or "". false: *e; the old one is where it was. */
bool salvage_catalog(int spool_fd, const char *path, bool captures,
		     char line[SALVAGE_LINE_MAX], struct err *e);

#endif
