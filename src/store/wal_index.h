/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * wal_index: SQLite's index of its log, in memory that is ours. Private to this
 * folder.
 *
 * What: a VFS that is the system's in everything but the index of the log.
 * That is otherwise a mapped file, catalog.db-shm, and a page of it that the
 * disk has no room for, or cannot read, is a SIGBUS. All connections of the
 * catalog are in this process, so it can be plain memory. Others may read the
 * catalog meanwhile (sqlite3 catalog.db): they make an index of their own in
 * that file and see the catalog as it was when they came. While they are
 * there, which their lock on the file says, the log only grows, as if they
 * were readers of ours; over WAL_INDEX_LOG_MAX they are not waited for.
 * Threads: any. Ownership: the process's.
 */
#ifndef PCAPD_STORE_WAL_INDEX_H
#define PCAPD_STORE_WAL_INDEX_H

#define WAL_INDEX_LOG_MAX (64ll << 20)

/* For sqlite3_open_v2; NULL: memory is out, and it is the system's. */
const char *wal_index_vfs(void);

#endif
