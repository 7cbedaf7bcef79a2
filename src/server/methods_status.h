/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * methods_status: the methods that tell of storage, and change it. As method.h
 * says.
 */
#ifndef PCAPD_SERVER_METHODS_STATUS_H
#define PCAPD_SERVER_METHODS_STATUS_H

struct call;

void run_status(struct call *c);
void run_gaps(struct call *c);
void run_set(struct call *c);
void run_would_remove(struct call *c);
void run_hold(struct call *c);
void run_release(struct call *c);
void run_mark(struct call *c);

#endif
