/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * replay: the method Replay. As method.h says.
 */
#ifndef PCAPD_SERVER_REPLAY_H
#define PCAPD_SERVER_REPLAY_H

struct call;

void run_replay(struct call *c);

#endif
