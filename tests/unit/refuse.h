/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * refuse: the n-th allocation, or the n-th call that makes a descriptor, fails.
 *
 * What: stands between our own code and libc (the linker's --wrap, see
 * CMakeLists.txt), and between SQLite and both (its own hooks). gRPC's
 * allocations are left alone, since gRPC aborts when one fails.
 * Threads: calls of every thread count, but for those of threads that called
 * refuse_exempt.
 * Limits: one countdown a process.
 */
#ifndef PCAPD_TESTS_REFUSE_H
#define PCAPD_TESTS_REFUSE_H

enum refused { REFUSE_MEMORY, REFUSE_SQLITE, REFUSE_DESCRIPTOR };

/* Before SQLite is used. */
void refuse_init(void);
void refuse_exempt(void);
/* The n-th such call (of ours, of SQLite, of both) from now on fails: ENOMEM or
 * EMFILE. */
void refuse_arm(enum refused what, long n);
/* No call fails any more. How many there were since refuse_arm. */
long refuse_disarm(void);

#endif
