/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * side_channel: stored frames beside gRPC. Private to the client.
 */
#ifndef PCAPD_CLIENT_SIDE_CHANNEL_H
#define PCAPD_CLIENT_SIDE_CHANNEL_H

#include "client/client.h"

/* Makes a ticket and its connection, whose reads wait; -1: there is none. */
int client_data_open(const char *path, uint8_t ticket[CLIENT_TICKET_BYTES]);
/* n bytes; false: it has ended before. */
bool client_data_read(int fd, uint8_t *to, size_t n);

#endif
