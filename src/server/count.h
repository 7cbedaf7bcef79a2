/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * count: the methods Explain and Count. As method.h says.
 */
#ifndef PCAPD_SERVER_COUNT_H
#define PCAPD_SERVER_COUNT_H

struct call;

void run_explain(struct call *c);
void run_count(struct call *c);

#endif
