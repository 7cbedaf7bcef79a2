/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * file: files that are replaced as a whole or not at all, also when the power
 * fails.
 *
 * Threads: any; who replaces the same file at once has a lock of his own.
 * Ownership: nothing is kept.
 */
#ifndef PCAPD_BASE_FILE_H
#define PCAPD_BASE_FILE_H

#include "base/err.h"

#include <stdio.h>
#include <sys/types.h>

#define FILE_PART ".part" /* behind a name: the file is not all there yet */

/* path: from the folder dir_fd, or AT_FDCWD. When this returns true, the disk
 * has the new text under that name. The new file has the old one's owner, if
 * the process may give it away, and its mode; without an old one, mode less the
 * umask. false: the old file is there, or the new one, of which the disk may
 * not have the name yet. */
bool file_replace(int dir_fd, const char *path, const char *text, size_t n,
		  mode_t mode, struct err *e);
/* As file_replace, with what edit writes, to which the old file is NULL if
 * there is none. edit returns false: nothing is changed. */
bool file_edit(const char *path, mode_t mode,
	       bool (*edit)(void *ctx, FILE *from, FILE *to), void *ctx,
	       struct err *e);
/* The disk has the names that are in that folder now. */
bool file_sync_folder(int dir_fd, const char *path, struct err *e);

#endif
