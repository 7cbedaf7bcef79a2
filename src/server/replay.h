/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * replay: the method Replay. As method.h says.
 */
#ifndef PCAPD_SERVER_REPLAY_H
#define PCAPD_SERVER_REPLAY_H

#include <stdint.h>

struct call;

void run_replay(struct call *c);
int64_t replay_beside_ns(const void *state);
void replay_over(void *state);

#endif
